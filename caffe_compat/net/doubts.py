"""Statements of a prototxt that can hardly be meant."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import CaffeCompatError
from ..layers.families.indexing import Crop
from ..layers.foreign import evidence, marked
from ..types import Shape
from .build import connect, create
from .graph import Graph, Node, Value

USUAL = (368, 368)  # OpenPose's own size
_SMALL = 32  # height and width of an input that a net of any size is hardly meant for


def small_inputs(graph: Graph) -> Iterator[Value]:
    """Yield the inputs for pictures that are tiny in a net which runs at any size.

    OpenPose's prototxt, among others, declares 1 x 1 or 16 x 16, and its program reshapes it.
    """
    for value in graph.inputs:
        if len(value.dims) == 4 and all(n is not None and n <= _SMALL for n in value.dims[2:]):
            dims = (*value.shape[:2], *USUAL)
            try:
                larger = connect(graph.net, create(graph.net), {value.blob: dims})
            except CaffeCompatError:
                continue
            if _blobs(larger) == _blobs(graph):
                yield value


def _blobs(graph: Graph) -> list[Shape]:
    return [blob.shape for node in graph.nodes for blob in node.blobs]


def evident_forks(graph: Graph) -> Iterator[str]:
    """Yield a line for each type that is taken as a fork's since the rest of the net tells so."""
    marks = evidence(graph.net)
    classes = {type(node.layer): node.layer.proto.type for node in graph.nodes}
    for cls, kind in classes.items():
        if own := marked(cls.fork, marks - {kind}):
            yield f"layers of type {kind} are taken as {cls.fork}'s, which has {', '.join(own)}"


def samplers(graph: Graph) -> Iterator[str]:
    """Yield a line on the layers of each type that draw in TEST, if there are any."""
    names: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.layer.samples:
            names.setdefault(node.layer.proto.type, []).append(f"'{node.layer.name}'")
    for kind, layers in names.items():
        yield (
            f"{kind} of layers {', '.join(layers)} draws at random in every run, as its fork does; "
            "the mean of many runs is the prediction"
        )


def has_ambiguous_crops(graph: Graph) -> bool:
    """Return whether a net has Crops without an offset that forks cut at different places."""
    crops = [node.layer for node in graph.nodes if isinstance(node.layer, Crop)]
    return any(c.ambiguous and not c.p.offset and any(c.aligned or ()) for c in crops)


def folded_batches(graph: Graph) -> Iterator[Node]:
    """Yield the Reshapes whose `dim: 1` folds a batch into another axis, as in Caffe."""
    for node in graph.nodes:
        if node.layer.type == "Reshape" and node.bottoms[0].dims and node.tops[0].dims:
            p = node.layer.proto.reshape_param
            states_one = p.axis == 0 and p.shape.dim and p.shape.dim[0] == 1
            if states_one and node.bottoms[0].dims[0] != 1:
                yield node
