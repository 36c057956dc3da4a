"""Blobs as Caffe shows them after a run: with what layers in place left in their memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..caffe_pb2 import LayerParameter
from ..layers.families.shape import Reshape
from ..types import Dims
from .aliasing import left_in_memory
from .graph import Node, Value
from .net import Net


def show(net: Net, blobs: Sequence[str]) -> tuple[Net, list[Value]]:
    """Return a net with values that are what Caffe shows of these blobs, and these values.

    The top of a Reshape, Split, Flatten or Slice can be its bottom's memory. A layer that works in
    place on one of them changes the other, too.

    Args:
        net: stays as it is.
        blobs: the blobs, by Caffe's name.

    Raises:
        ShapeError: the net has no such blob.
    """
    left = left_in_memory(net.graph)
    values = {value.name: value for value in net.graph.values}
    fed = {value.name for value in net.graph.inputs}
    for blob in dict.fromkeys(blobs):
        value = net.graph.blob(blob)
        if value.name in left and value.name not in fed:
            net = _with_reshape(net, value, values[left[value.name]])
    return net, [net.graph.blob(blob) for blob in blobs]


def _with_reshape(net: Net, value: Value, left: Value) -> Net:
    """Return the net with another name for a value, whose own name what is left has."""
    graph = net.graph
    producer = next(node for node in graph.nodes if value in node.tops)
    other = replace(value, name=f"{value.blob}/{producer.layer.name}")

    def renamed(values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(other if each.name == value.name else each for each in values)

    nodes = [
        replace(node, bottoms=renamed(node.bottoms), tops=renamed(node.tops))
        for node in graph.nodes
    ]
    proto = LayerParameter(name=value.name, type="Reshape", bottom=[left.blob], top=[value.blob])
    proto.reshape_param.shape.dim.extend(_sizes(value.dims, left.dims))
    nodes.append(Node(Reshape(proto), (left,), (value,), (), (), (0.0,)))
    return replace(net, graph=replace(graph, nodes=tuple(nodes)), arrays=(*net.arrays, ()))


def _sizes(dims: Dims, left: Dims) -> list[int]:
    """Return the sizes of a Reshape: 0 copies an axis that varies, -1 is one that has no equal."""
    copied = [n is None and left[i : i + 1] == (None,) for i, n in enumerate(dims)]
    return [0 if copies else -1 if n is None else n for n, copies in zip(dims, copied, strict=True)]
