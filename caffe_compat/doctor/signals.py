"""The variance of a net's signals at each layer, forward and backward.

Forward, y is a layer's output over random input; backward, dx is the gradient at its input, from
unit random gradients at the net's ends, before any softmax or loss. For a linear map the mean
square of dx is the squared Frobenius norm of the Jacobian over the number of inputs.
He et al. 2015 is "Delving Deep into Rectifiers".

A stride, a pooling or a layer of few outputs spreads a gradient thin without losing any of it. So
the rules judge its sum of squares, over that of the gradients at the ends, which is constant where
E[y²] is. Several ends count alike, whatever their sizes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, prod, sqrt
from typing import TypeAlias

import numpy as np

from ..errors import DeviceError, UnsupportedError
from ..net.fans import is_weighted
from ..net.graph import Graph, Node, Value
from ..net.needs import Needs
from ..net.net import Net
from ..runtime.models import lower_values
from ..runtime.session import Session
from ..types import Array
from .ends import depths_of, find_ends, zeros_of
from .theory import predict_backward, predict_forward

Watch: TypeAlias = Callable[[str, Array], None]

_ENOUGH = 64  # values of a channel, all on one side of 0, that make it dead
_SAFE = 1e30  # mean squares in float32 are right between its inverse and it
_FLAT = 0.999  # share of the mean in the mean square, from which float32 loses the variance


@dataclass(frozen=True)
class Stats:
    """The measurements of one net, by `Value.name`; `dead` by the layer's name.

    Attributes:
        moments: E[y²] of each value.
        variances: Var[y].
        gradients: E[dy²], where a gradient arrives.
        dead: of a ReLU the fraction of channels that are 0 everywhere, if enough values tell.
    """

    moments: dict[str, float] = field(default_factory=dict)
    variances: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Signal:
    """The measurements at one layer, averaged over the trials.

    Attributes:
        layer: its name.
        type: its type.
        depth: the number of layers with weights on the longest path to its output.
        weighted: whether it has weights, so that He et al.'s products count it.
        forward: Var[y] of its first top.
        moment: E[x²] of its first bottom; None if it has none.
        backward: E[dx²] at its first bottom; None if no gradient reaches it.
        spread: the elements of the bottom over those at the net's ends.
        theory_forward: E[y²] by the product of ½ (1 + a²) n E[w²] up to this layer (eq. 9).
        theory_backward: E[dx²] by the product from the net's end back to this layer (eq. 13).
        dead: of a ReLU the fraction of channels that are 0 everywhere; None if too few values
            tell.
    """

    layer: str
    type: str
    depth: int
    weighted: bool
    forward: float
    moment: float | None
    backward: float | None
    spread: float
    theory_forward: float | None
    theory_backward: float | None
    dead: float | None

    @property
    def gradient(self) -> float | None:
        """The gradient's sum of squares at the first bottom, over that at the net's ends."""
        return None if self.backward is None else self.backward * self.spread

    @property
    def theory_gradient(self) -> float | None:
        """The same by theory."""
        return None if self.theory_backward is None else self.theory_backward * self.spread


def measure(net: Net, feeds: Mapping[str, Array], seed: int = 0) -> Stats:
    """Return the signals of one net on one input.

    Args:
        net: the net with its weights.
        feeds: an array for each input, by its Caffe name.
        seed: the seed of the gradients at the net's ends, N(0, 1).
    """
    stats = Stats()
    diffs = _seeds(find_ends(net.graph, zeros_of(net)), seed)

    def watch(name: str, gradient: Array) -> None:
        stats.gradients[name] = _moments(gradient)[0]

    with np.errstate(all="ignore"):  # an overflow is a finding
        values = _propagate(net, feeds, diffs, watch)
        for name, array in values.items():
            stats.moments[name], stats.variances[name] = _moments(array)
        for node in net.graph.nodes:
            if node.layer.type == "ReLU" and node.bottoms:
                dead = _dead(node, values[node.bottoms[0].name])
                if dead is not None:
                    stats.dead[node.layer.name] = dead
    return stats


def average(trials: Sequence[Stats]) -> Stats:
    """Return the mean of each number over trials of one net."""
    return Stats(
        *(
            _mean([getattr(stats, name) for stats in trials])
            for name in ("moments", "variances", "gradients", "dead")
        )
    )


def _mean(trials: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for numbers in trials for name in numbers)
    known = {name: [numbers[name] for numbers in trials if name in numbers] for name in names}
    return {name: sum(numbers) / len(numbers) for name, numbers in known.items()}


def list_signals(net: Net, stats: Stats) -> tuple[Signal, ...]:
    """Return the measurements layer by layer, with the theory of the same weights."""
    graph = net.graph
    ends = find_ends(graph, zeros_of(net))
    ahead = predict_forward(net, {v.name: stats.moments.get(v.name, 1.0) for v in graph.inputs})
    back = predict_backward(net, ahead, ends)
    depths = depths_of(graph)
    size = sum(prod(end.shape) for end in ends) or 1
    signals = []
    for node in graph.nodes:
        if not node.tops or len(node.layer.feeds()) == len(node.tops):
            continue
        top, bottom = node.tops[0].name, node.bottoms[0].name if node.bottoms else ""
        signals.append(
            Signal(
                node.layer.name,
                node.layer.proto.type,
                depths[top],
                is_weighted(node),
                stats.variances[top],
                stats.moments.get(bottom),
                stats.gradients.get(bottom),
                prod(node.bottoms[0].shape) / size if bottom else 0.0,
                ahead.get(top),
                back.get(bottom),
                stats.dead.get(node.layer.name),
            )
        )
    return tuple(signals)


# ---- forward and backward -----------------------------------------------------------------------


def _seeds(ends: Sequence[Value], seed: int) -> dict[str, Array]:
    """Return N(0, 1) gradients at the ends, each end with the same sum of squares."""
    rng = np.random.default_rng(seed)
    share = sum(prod(end.shape) for end in ends) / max(len(ends), 1)
    return {
        end.name: rng.standard_normal(end.shape, np.float32)
        * np.float32(sqrt(share / prod(end.shape)))
        for end in ends
    }


def _propagate(
    net: Net, feeds: Mapping[str, Array], diffs: Mapping[str, Array], watch: Watch
) -> Mapping[str, Array]:
    """Return every value, and show the gradients: by torch's autograd, or else by numpy."""
    if importlib.util.find_spec("torch") is not None:
        from ..torch.gradients import backpropagate

        try:
            return backpropagate(net, _computed(net.graph), feeds, diffs, watch)
        except UnsupportedError:
            pass  # numpy has layers that torch has not
    values = run(net, feeds)
    nodes = net.graph.nodes
    wanted = Needs(
        (True,) * len(nodes),
        tuple((True,) * len(node.bottoms) for node in nodes),
        tuple((False,) * len(node.blobs) for node in nodes),
        {},
    )
    blobs = {value.name: value.blob for value in net.graph.values}
    starts: dict[str, Array] = {
        top.blob: np.zeros(top.shape, np.float32)
        for node in nodes
        for top, weight in zip(node.tops, node.loss_weights, strict=True)
        if weight
    }
    starts |= {blobs[name]: array for name, array in diffs.items()}
    for name, gradient in net.backward(values, starts, needs=wanted)[0].items():
        watch(name, gradient)
    return values


def run(
    net: Net, feeds: Mapping[str, Array], values: Sequence[Value] | None = None
) -> Mapping[str, Array]:
    """Return values of the net, by default all, by name: from onnxruntime, or else from numpy."""
    wanted = _computed(net.graph) if values is None else list(values)
    try:
        session = Session(lower_values(net, wanted), "cpu")
        outputs = session.run({name: feeds[name] for name in session.inputs})
    except (DeviceError, UnsupportedError):
        with np.errstate(all="ignore"):
            return net.run(feeds)
    return outputs | {value.name: feeds[value.blob] for value in net.graph.inputs}


def _computed(graph: Graph) -> list[Value]:
    inputs = {value.name for value in graph.inputs}
    return [top for node in graph.nodes for top in node.tops if top.name not in inputs]


# ---- numbers ------------------------------------------------------------------------------------


def _moments(x: Array) -> tuple[float, float]:
    """Return E[x²] and Var[x]; infinity where a value overflowed."""
    flat = np.ascontiguousarray(x).reshape(-1)
    if not flat.size:
        return 0.0, 0.0
    square, mean = float(np.dot(flat, flat)) / flat.size, float(np.mean(flat))
    if not 1 / _SAFE < square < _SAFE or mean * mean > _FLAT * square:
        wide = flat.astype(np.float64)
        square, variance = float(np.mean(wide * wide)), float(np.var(wide))
    else:
        variance = square - mean * mean
    return _number(square), _number(variance)


def _number(x: float) -> float:
    """Return a number; infinity for NaN, which comes from an overflow."""
    return x if isfinite(x) else inf


def _dead(node: Node, x: Array) -> float | None:
    if node.layer.p.negative_slope or x.ndim < 2 or x.size < _ENOUGH * x.shape[1]:
        return None
    largest = x.reshape(*x.shape[:2], -1).max(axis=(0, 2))
    return float(np.mean(largest <= 0))
