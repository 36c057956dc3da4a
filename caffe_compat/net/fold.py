"""Fold BatchNorm and Scale into the layer before them where the result is the same.

A layer that is linear in its weights and bias, followed by y -> f y + s with one f and s for each
of its channels, is the same layer with the weights f W and the bias f b + s.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import NetParameter
from ..layers.axes import canonical_axis
from ..layers.families.batch_norm import BatchNorm
from ..types import Array
from .build import build
from .graph import Node
from .net import Net

Affine: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

_LINEAR = ("Convolution", "Deconvolution", "InnerProduct")
_AFFINE = ("BatchNorm", "Scale")
_MOMENTS = ("mean", "variance", "factor")


@dataclass(frozen=True)
class Report:
    """The fate of every BatchNorm and Scale of a net.

    Attributes:
        folded: each layer that others were folded into, and their names.
        kept: the name of each layer that stays, and the reason.
    """

    folded: tuple[tuple[str, tuple[str, ...]], ...]
    kept: tuple[tuple[str, str], ...]

    def lines(self) -> Iterator[str]:
        """Yield a line for each."""
        for into, names in self.folded:
            yield f"folded into {into}: {', '.join(names)}"
        for name, reason in self.kept:
            yield f"kept {name}: {reason}"


def fold_batchnorm(net: Net, keep: Iterable[str] = ()) -> tuple[Net, Report]:
    """Fold each BatchNorm (of stored statistics) and Scale into the layer before it.

    That layer is a Convolution, a Deconvolution or an InnerProduct whose output nothing else
    reads; it gets a bias if it has none, and the name of the last layer's top. Results differ by
    rounding only.

    Args:
        net: is not changed; the new net shares its other weights.
        keep: blobs that the new net must have, too.

    Returns:
        The new net, and a report on every BatchNorm and Scale.

    Raises:
        ShapeError: the net has no such blob.
        WeightsError: the file behind the weights was changed.
    """
    net.check()
    folding = _Folding(net, keep)
    kept: list[tuple[str, str]] = []
    for index, node in enumerate(net.graph.nodes):
        if node.layer.type in _AFFINE:
            reason = folding.add(index)
            kept += [(node.layer.name, reason)] if reason else []
    names = [node.layer.name for node in net.graph.nodes]
    folded = [(names[i], tuple(names[j] for j in c)) for i, c in folding.chains.items()]
    return _rebuild(net, folding), Report(tuple(folded), tuple(kept))


def _rebuild(net: Net, folding: _Folding) -> Net:
    """Return the net without the folded layers."""
    graph = net.graph
    message = NetParameter()
    message.CopyFrom(graph.net)
    del message.layer[:]
    params: list[tuple[Array, ...]] = []
    for index, node in enumerate(graph.nodes):
        if index in folding.into:
            continue
        proto = message.layer.add()
        proto.CopyFrom(graph.net.layer[index])
        params.append(net.arrays[index])
        chain = folding.chains.get(index)
        if chain:
            proto.top[0] = graph.nodes[chain[-1]].tops[0].blob
            proto.ClearField("blobs")
            getattr(proto, str(node.layer.param)).bias_term = True
            params[-1] = _apply(node, net.arrays[index], folding.affine[index])
    return Net(build(message, {value.blob: value.dims for value in graph.inputs}), tuple(params))


class _Folding:
    """The layers to fold and their targets, found layer by layer.

    Attributes:
        chains: the layers to fold into each target, in order; by index.
        into: the target of each layer to fold; by index.
        affine: the product of the layers to fold into each target.
    """

    def __init__(self, net: Net, keep: Iterable[str]) -> None:
        self.net = net
        self._keep = {net.graph.blob(name).name for name in keep}
        self.chains: defaultdict[int, list[int]] = defaultdict(list)
        self.into: dict[int, int] = {}
        self.affine: dict[int, Affine] = {}
        nodes = net.graph.nodes
        self._source = {top.name: i for i, node in enumerate(nodes) for top in node.tops}
        self._readers = Counter(bottom.name for node in nodes for bottom in node.bottoms)
        self._users = Counter(owner for node in nodes for owner in node.owners)

    def add(self, index: int) -> str:
        """Fold a layer into the one before it, or return the reason against it."""
        node = self.net.graph.nodes[index]
        bottom = node.bottoms[0]
        source = self._source[bottom.name]
        into = self.into.get(source, source)
        target = self.net.graph.nodes[into]
        reason = (
            _unfit(node)
            or self._unfit_target(into)
            or (self._readers[bottom.name] > 1 and f"'{bottom.blob}' has other readers")
            or (bottom.name in self._keep and f"'{bottom.blob}' is an output")
            or (any(target.loss_weights) and f"'{bottom.blob}' has a loss weight")
        )
        if reason:
            return str(reason)
        affine = _affine(node, self.net.blobs_of(index), _channel_axis(target))
        if affine is None:
            return f"does not act on the channels of {_say(target)} one by one"
        factor, shift = self.affine.get(into, (np.ones(1), np.zeros(1)))
        both = factor * affine[0], shift * affine[0] + affine[1]
        if not _finite(self.net.arrays[into][0], both):
            return f"the weights of {_say(target)} would not be finite"
        self.affine[into] = both
        self.chains[into].append(index)
        self.into[index] = into
        return ""

    def _unfit_target(self, index: int) -> str:
        node = self.net.graph.nodes[index]
        if node.layer.type not in _LINEAR:
            return f"follows {_say(node)}"
        if len(node.tops) > 1:
            return f"{_say(node)} has several tops"
        if any(self._users[owner] > 1 for owner in node.owners):
            return f"{_say(node)} shares its parameters"
        return ""


def _say(node: Node) -> str:
    return f"'{node.layer.name}' ({node.layer.type})"


def _unfit(node: Node) -> str:
    if len(node.bottoms) > 1:
        return "its factor is a blob of the net, not a parameter"
    if node.layer.type == "BatchNorm" and not getattr(node.layer, "stored", False):
        return "normalises by the statistics of the batch"
    return "has a loss weight" if any(node.loss_weights) else ""


def _channel_axis(target: Node) -> int:
    """Return the axis of the top along which each element has weights of its own."""
    return canonical_axis(target.layer.p.axis, len(target.bottoms[0].shape))


def _affine(node: Node, blobs: dict[str, Array], axis: int) -> Affine | None:
    """Return the factor and the summand, one or one per channel; None if there are more."""
    if node.layer.type == "BatchNorm":
        if axis != 1:
            return None
        mean, variance, total = (blobs[name].astype(np.float64) for name in _MOMENTS)
        rate = 1 / total[0] if total[0] else 0.0
        with np.errstate(all="ignore"):  # a layer with a factor that is not finite stays
            assert isinstance(node.layer, BatchNorm)
            factor = 1 / node.layer.deviation(variance * rate)
            shift = -mean * rate * factor
        if "scale" not in blobs:
            return factor, shift
        scale, bias = (blobs[name].astype(np.float64) for name in ("scale", "bias"))
        return factor * scale, shift * scale + bias
    scale = blobs["scale"].astype(np.float64)
    bias = blobs["bias"].astype(np.float64) if "bias" in blobs else np.zeros_like(scale)
    bottom = node.bottoms[0]
    start = canonical_axis(node.layer.p.axis, len(bottom.shape)) if scale.ndim else 0
    spanned = set(range(start, start + scale.ndim)) - {axis}
    if any(bottom.dims[i] != 1 for i in spanned):
        return None
    return scale.reshape(-1), bias.reshape(-1)


def _finite(weight: Array, affine: Affine) -> bool:
    largest = max(float(weight.max(initial=0)), -float(weight.min(initial=0)))
    with np.errstate(all="ignore"):
        ends = (affine[0] * largest, *affine)
        return all(bool(np.isfinite(end.astype(np.float32)).all()) for end in ends)


def _apply(target: Node, params: tuple[Array, ...], affine: Affine) -> tuple[Array, ...]:
    """Return the target's weights and bias with the layers behind it folded in."""
    weight, *rest = params
    outputs: int = target.layer.p.num_output
    factor, shift = (np.broadcast_to(part, outputs) for part in affine)
    parts, spread = _by_output(target, weight)
    folded = np.empty(parts.shape, np.float32)
    np.multiply(parts, factor.reshape(spread), out=folded, casting="same_kind")
    bias = rest[0] * factor + shift if rest else shift
    return folded.reshape(weight.shape), bias.astype(np.float32)


def _by_output(target: Node, weight: Array) -> tuple[Array, tuple[int, ...]]:
    """Return the weights, and the shape in which one number per output broadcasts to them."""
    p: Any = target.layer.p
    if target.layer.type == "Deconvolution":  # inputs by outputs of their group
        inputs, outputs = weight.shape[:2]
        groups = (p.group, inputs // p.group, outputs, prod(weight.shape[2:]))
        return weight.reshape(groups), (p.group, 1, outputs, 1)
    if target.layer.type == "InnerProduct" and p.transpose:
        return weight, (1, -1)
    return weight, (-1,) + (1,) * (weight.ndim - 1)
