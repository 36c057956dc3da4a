"""The axes of a net that vary from run to run: with open input axes, or with the data.

The walk that builds the net takes every shape that such an axis could change along at a few other
sizes, too. An axis whose size is the same at all of them is fixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import ShapeError
from ..types import Dims, Shape
from .graph import Graph, Node, Value
from .sizes import check_size


class _Probe(NamedTuple):
    """One change of size that the shapes are followed at.

    Attributes:
        axis: the open axis of the inputs; -1 for the axes whose size only the data decide.
        size: the size that it was built at. Open axes of the same place and size vary together,
            as the batch of several inputs does.
        times: the factor that the size is multiplied by ...
        plus: ... and the number that is added to it.
        required: whether the net must allow it. A net may take only multiples of its stride, and
            may fit only if all rows are chosen, which Caffe, too, finds out when it runs.
    """

    axis: int
    size: int
    times: int
    plus: int
    required: bool

    def apply(self, size: int) -> int:
        return size * self.times + self.plus


_BY_DATA = tuple(_Probe(-1, 0, times, 0, False) for times in (2, 3))


def _probes(axis: int, size: int) -> Iterator[_Probe]:
    """Yield the probes of an open axis: other sizes than multiples show what rounding hides."""
    yield _Probe(axis, size, 2, 0, True)
    yield _Probe(axis, size, 3, 0, True)
    yield _Probe(axis, size, 1, 1, False)


class Varying:
    """The shapes of a net's values under every probe, collected layer by layer."""

    def __init__(self) -> None:
        self._shapes: defaultdict[str, dict[_Probe, Shape]] = defaultdict(dict)  # by value name
        self._failed: set[_Probe] = set()

    def open(self, value: Value, dims: Dims) -> None:
        """Open those axes of an input on which `dims` is None."""
        for axis, size in enumerate(value.shape):
            if dims[axis] is None:
                for probe in _probes(axis, size):
                    other = list(value.shape)
                    other[axis] = probe.apply(size)
                    self._shapes[value.name][probe] = tuple(other)

    def follow(self, node: Node, fixed: Collection[str]) -> None:
        """Take the probes that reach a layer on to its tops.

        Args:
            node: the layer.
            fixed: the names of those of its tops whose shape the caller gives.

        Raises:
            ShapeError: the layer does not allow an open axis to vary.
        """
        probes = {probe for value in node.bottoms for probe in self._shapes[value.name]}
        if node.layer.varies:
            probes |= {*_BY_DATA}
        for probe in sorted(probes - self._failed):
            bottoms = [self._shapes[value.name].get(probe, value.shape) for value in node.bottoms]
            try:
                shapes = _shapes(node, bottoms, probe)
            except ShapeError as error:
                if probe.required:
                    raise error.within(f"axis {probe.axis} of the input cannot vary") from error
                self._failed.add(probe)
                continue
            for top, shape in zip(node.tops, shapes, strict=True):
                if shape is not None and shape != top.shape and top.name not in fixed:
                    self._shapes[top.name][probe] = shape

    def mark(self, graph: Graph) -> Graph:
        """Return the graph with None in its values' dims on the axes that vary."""
        dims = {
            top.name: self._dims(top, node.layer.varies)
            for node in graph.nodes
            for top in node.tops
        }

        def marked(values: Sequence[Value]) -> tuple[Value, ...]:
            return tuple(
                value if value.dims == dims[value.name] else replace(value, dims=dims[value.name])
                for value in values
            )

        nodes = tuple(
            replace(node, bottoms=marked(node.bottoms), tops=marked(node.tops))
            for node in graph.nodes
        )
        return replace(
            graph, nodes=nodes, inputs=marked(graph.inputs), outputs=marked(graph.outputs)
        )

    def _dims(self, value: Value, by_data: Sequence[int]) -> Dims:
        others = [s for p, s in self._shapes[value.name].items() if p not in self._failed]
        return tuple(
            None if axis in by_data or any(shape[axis] != size for shape in others) else size
            for axis, size in enumerate(value.shape)
        )


def _shapes(node: Node, bottoms: Sequence[Shape], probe: _Probe) -> list[Shape | None]:
    layer = node.layer
    with layer.named():
        for blob, built in zip(layer.blobs(*bottoms), node.blobs, strict=True):
            check_size(blob.name, blob.shape)
            if blob.shape != built.shape:
                raise ShapeError(
                    f"'{blob.name}' would change from {built.shape} to {blob.shape}; give the "
                    "inputs fixed shapes",
                    remedies=("inputs",),
                )
        shapes = layer.shapes(*bottoms)
        if probe in _BY_DATA:
            shapes = [shape and _scaled(shape, layer.varies, probe) for shape in shapes]
        for top, shape in zip(layer.proto.top, shapes, strict=False):
            if shape is not None:
                check_size(top, shape)
        return shapes


def _scaled(shape: Shape, axes: Sequence[int], probe: _Probe) -> Shape:
    return tuple(probe.apply(n) if axis in axes else n for axis, n in enumerate(shape))
