"""Sizes that a net leaves open: the module takes any batch, and any height and width it can."""

from __future__ import annotations

from ..errors import CaffeCompatError
from ..net.build import connect
from ..net.graph import Graph
from ..net.net import Net
from ..types import Dims, Shape
from .forms import Forms


def open_sizes(net: Net) -> Net:
    """Return the net with as many open axes of its inputs as cost no layer its form in torch.

    The first axis of every input is tried, and the sizes of images, both or the first alone; what
    is open already stays so.
    """
    closed = _without_form(net)
    for images in (True, False):
        inputs = {value.blob: _opened(value.dims, images) for value in net.graph.inputs}
        if all(inputs[value.blob] == value.dims for value in net.graph.inputs):
            return net
        try:
            graph = connect(net.graph.net, [node.layer for node in net.graph.nodes], inputs)
        except CaffeCompatError:  # a layer that is written for one size
            continue
        if _blobs(graph) != _blobs(net.graph):  # an open axis was built at another size
            continue
        opened = Net(graph, net.arrays)
        if _without_form(opened) <= closed:
            return opened
    return net


def _blobs(graph: Graph) -> list[Shape]:
    return [blob.shape for node in graph.nodes for blob in node.blobs]


def _opened(dims: Dims, images: bool) -> Dims:
    return tuple(
        None if axis == 0 or (images and len(dims) >= 4 and axis >= 2) else n
        for axis, n in enumerate(dims)
    )


def _without_form(net: Net) -> set[int]:
    """Return the layers that torch has no form of at the net's sizes."""
    forms = Forms(net)
    return {
        index
        for index, node in enumerate(net.graph.nodes)
        if not node.layer.feeds() and not forms.has_form(index)
    }
