"""The offset that aligns two blobs that come from one (python/caffe/coord_map.py).

A layer maps a coordinate x of its bottom to a x + b of its top, along height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from ..errors import ShapeError
from ..layers.families.conv import Convolution, Deconvolution
from ..layers.families.indexing import Crop
from ..layers.families.pooling import Pooling
from ..layers.spatial import conv_window, pool_window
from .graph import Node, Value

Line: TypeAlias = tuple[Fraction, Fraction]  # a, b
Map: TypeAlias = tuple[Line, Line]  # of height and width

_SAME: Line = (Fraction(1), Fraction(0))
_IDENTITY: Map = (_SAME, _SAME)
_POINTWISE = {
    "AbsVal",
    "BNLL",
    "BN",
    "BatchNorm",
    "Bias",
    "Concat",
    "Dropout",
    "ELU",
    "Eltwise",
    "Exp",
    "LRN",
    "Log",
    "MVN",
    "PReLU",
    "Power",
    "ReLU",
    "Scale",
    "Sigmoid",
    "Softmax",
    "Split",
    "TanH",
    "Threshold",
}


def align(nodes: Sequence[Node], bottoms: Sequence[Value]) -> tuple[int, int] | None:
    """Return the offset in height and width at which a Crop's first bottom meets its second.

    Args:
        nodes: the layers before the Crop.
        bottoms: its bottoms.

    Returns:
        None if the bottoms come from no common blob by layers that map coordinates, or if the
        offset is no whole number from 0 on.
    """
    makers = {top.name: node for node in nodes for top in node.tops}
    first = _walk(bottoms[0].name, makers)
    for name, there in _walk(bottoms[1].name, makers).items():
        if name in first:
            lines = [_behind(t, _invert(f)) for t, f in zip(there, first[name], strict=True)]
            if all(a == 1 and b <= 0 and b.denominator == 1 for a, b in lines):
                return int(-lines[0][1]), int(-lines[1][1])
            return None
    return None


def _walk(name: str, makers: Mapping[str, Node]) -> dict[str, Map]:
    """Return the maps from each blob that this one comes from, nearest first."""
    maps = {name: _IDENTITY}
    for reached in (names := [name]):
        node = makers.get(reached)
        own = _map(node) if node is not None and node.bottoms else None
        if node is None or own is None:
            continue
        for bottom in node.bottoms[: 1 if isinstance(node.layer, Crop) else None]:
            if bottom.name not in maps:
                high, wide = zip(maps[reached], own, strict=True)
                maps[bottom.name] = _behind(*high), _behind(*wide)
                names.append(bottom.name)
    return maps


def _map(node: Node) -> Map | None:
    layer = node.layer
    if any(len(value.shape) != 4 for value in (node.bottoms[0], *node.tops)):
        return None
    if isinstance(layer, Crop):
        offsets = layer.offsets(4)
        high, wide = (Fraction(-offsets.get(axis, 0)) for axis in (2, 3))
        return (Fraction(1), high), (Fraction(1), wide)
    if layer.proto.type in _POINTWISE:
        return _IDENTITY
    try:
        size = node.bottoms[0].shape[2:]
        if isinstance(layer, Pooling):
            window = None if layer.p.global_pooling else pool_window(layer.p, size)
        elif isinstance(layer, Convolution):
            window = conv_window(layer.p, 2)
        else:
            window = None
    except ShapeError:
        return None
    if window is None:
        return None
    dilation = getattr(window, "dilation", (1, 1))
    axes = zip(window.kernel, window.stride, window.pad, dilation, strict=True)
    lines = [(Fraction(1, s), (p - Fraction(d * (k - 1), 2)) / s) for k, s, p, d in axes]
    if isinstance(layer, Deconvolution):
        lines = [_invert(line) for line in lines]
    return lines[0], lines[1]


def _behind(base: Line, inner: Line) -> Line:
    """Return base after inner."""
    return base[0] * inner[0], base[0] * inner[1] + base[1]


def _invert(line: Line) -> Line:
    return 1 / line[0], -line[1] / line[0]
