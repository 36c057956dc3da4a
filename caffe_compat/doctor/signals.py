"""The variance of a net's signals at each layer, forward and backward.

Forward, y is a layer's output over random input; backward, dx is the gradient at its input, from
unit random gradients at the net's end, before any softmax or loss. For a linear map the mean
square of dx is the squared Frobenius norm of the Jacobian over the number of inputs.
He et al. 2015 is "Delving Deep into Rectifiers".

A stride, a pooling or a layer of few outputs spreads a gradient thin without losing any of it. So
the rules judge its sum of squares, over that of the gradients at the end, which is constant where
E[y²] is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, prod

import numpy as np

from ..errors import DeviceError, UnsupportedError
from ..layers.layer import Layer
from ..net.graph import Graph, Node, Value
from ..net.net import Net
from ..runtime.models import lower_values
from ..runtime.session import Session
from ..types import Array
from .theory import is_weighted, predict_backward, predict_forward

_ENOUGH = 64  # values of a channel, all on one side of 0, that make it dead
_CONSTANTS = ("PriorBox",)  # layers whose outputs depend on their bottoms' sizes alone


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
        backward: Var[dx] at its first bottom; None if no gradient reaches it.
        spread: the elements of the bottom over those at the net's end.
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
        """The gradient's sum of squares at the first bottom, over that at the net's end."""
        return None if self.backward is None else self.backward * self.spread

    @property
    def theory_gradient(self) -> float | None:
        """The same by theory."""
        return None if self.theory_backward is None else self.theory_backward * self.spread


def measure(net: Net, feeds: Mapping[str, Array], seed: int = 0) -> tuple[Signal, ...]:
    """Return the signals of one net on one input.

    Args:
        net: the net with its weights.
        feeds: an array for each input, by its Caffe name.
        seed: the seed of the gradients at the net's end, N(0, 1).
    """
    values = run(net, feeds)
    ends = find_ends(net.graph)
    grads = _backward(net, values, ends, seed)
    ahead = predict_forward(net, {v.name: _moment(values[v.name]) for v in net.graph.inputs})
    back = predict_backward(net, ahead, ends)
    depths = depths_of(net.graph)
    seeded = sum(prod(end.shape) for end in ends) or 1
    signals = []
    for node in net.graph.nodes:
        if not node.tops or len(node.layer.feeds()) == len(node.tops):
            continue
        top, bottom = node.tops[0], node.bottoms[0].name if node.bottoms else None
        x = None if bottom is None else values[bottom]
        signals.append(
            Signal(
                node.layer.name,
                node.layer.proto.type,
                depths[top.name],
                is_weighted(node),
                _variance(values[top.name]),
                None if x is None else _moment(x),
                _variance(grads[bottom]) if bottom in grads else None,
                0.0 if x is None else x.size / seeded,
                ahead.get(top.name),
                back.get(bottom) if bottom is not None else None,
                _dead(node, x),
            )
        )
    return tuple(signals)


def average(trials: Sequence[Sequence[Signal]]) -> tuple[Signal, ...]:
    """Return the mean of each number over trials of one net."""
    fields = ("forward", "moment", "backward", "theory_forward", "theory_backward", "dead")
    return tuple(
        replace(same[0], **{name: _mean(getattr(s, name) for s in same) for name in fields})
        for same in zip(*trials, strict=True)
    )


def _mean(numbers: Iterable[float | None]) -> float | None:
    known = [n for n in numbers if n is not None]
    return sum(known) / len(known) if known else None


def run(net: Net, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return every value of the net by `Value.name`, from onnxruntime or else from numpy."""
    inputs = {value.name for value in net.graph.inputs}
    tops = [top for node in net.graph.nodes for top in node.tops if top.name not in inputs]
    try:
        session = Session(lower_values(net, tops), "cpu")
        outputs = session.run({name: feeds[name] for name in session.inputs})
    except (DeviceError, UnsupportedError):
        with np.errstate(all="ignore"):
            return net.run(feeds)
    return outputs | {value.name: feeds[value.blob] for value in net.graph.inputs}


# ---- a net's ends and its depth -----------------------------------------------------------------


def find_ends(graph: Graph) -> tuple[Value, ...]:
    """Return a net's outputs before Softmax, losses and layers without a gradient.

    Values that depend on the inputs' sizes alone do not count.
    """
    makers = {top.name: node for node in graph.nodes for top in node.tops}
    live = _live(graph)
    ends: dict[str, Value] = {}
    todo = list(graph.outputs)
    while todo:
        value = todo.pop()
        node = makers[value.name]
        if value.name not in live or not node.bottoms:
            continue
        if node.layer.loss or node.layer.type == "Softmax" or not has_backward(node.layer):
            todo += node.bottoms
        else:
            ends[value.name] = value
    return tuple(ends.values())


def has_backward(layer: Layer) -> bool:
    """Return whether gradients pass a layer."""
    return type(layer).backward is not Layer.backward


def _live(graph: Graph) -> set[str]:
    live = {value.name for value in graph.inputs}
    for node in graph.nodes:
        if node.layer.type not in _CONSTANTS and any(v.name in live for v in node.bottoms):
            live |= {top.name for top in node.tops}
    return live


def depths_of(graph: Graph) -> dict[str, int]:
    """Return the number of layers with weights on the longest path to each value."""
    depths: dict[str, int] = {}
    for node in graph.nodes:
        before = max((depths[value.name] for value in node.bottoms), default=0)
        depths |= {top.name: before + is_weighted(node) for top in node.tops}
    return depths


def _backward(
    net: Net, values: Mapping[str, Array], ends: Sequence[Value], seed: int
) -> dict[str, Array]:
    """Return the gradient at every value that one reaches, by `Value.name`, without the losses'."""
    rng = np.random.default_rng(seed)
    diffs: dict[str, Array] = {
        top.blob: np.zeros(top.shape, np.float32)
        for node in net.graph.nodes
        for top, weight in zip(node.tops, node.loss_weights, strict=True)
        if weight
    }
    diffs |= {end.blob: rng.standard_normal(end.shape, np.float32) for end in ends}
    with np.errstate(all="ignore"):  # an overflow is a finding
        return net.backward(values, diffs)[0]


# ---- numbers ------------------------------------------------------------------------------------


def _variance(x: Array) -> float:
    with np.errstate(all="ignore"):
        return _number(np.var(x, dtype=np.float64))


def _moment(x: Array) -> float:
    with np.errstate(all="ignore"):
        return _number(np.mean(np.square(x, dtype=np.float64)))


def _number(x: np.floating) -> float:
    """Return a number; infinity for NaN, which comes from an overflow."""
    return float(x) if isfinite(x) else inf


def _dead(node: Node, x: Array | None) -> float | None:
    if node.layer.type != "ReLU" or node.layer.p.negative_slope or x is None or x.ndim < 2:
        return None
    channels = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    return float(np.mean((channels <= 0).all(axis=1))) if channels.shape[1] >= _ENOUGH else None
