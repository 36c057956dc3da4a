"""Write a net as Caffe saves it: its weights, or its prototxt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..caffe_pb2 import LayerParameter, NetParameter, ParamSpec
from ..errors import CaffeCompatError
from ..prototxt.splits import insert_splits
from ..prototxt.writer import write_text
from ..types import Array
from ..weights import npz, snapshot
from .graph import Graph
from .sharing import Place


class Net(Protocol):
    """A net that can be saved: a graph, and the arrays of each node."""

    @property
    def graph(self) -> Graph:
        """The layers."""

    @property
    def arrays(self) -> Sequence[Sequence[Array]]:
        """The parameter blobs of each node."""


def save(net: Net, path: str | Path, diffs: Mapping[Place, Array] | None = None) -> None:
    """Write a `.caffemodel`, Caffe's HDF5 (`.h5`), an `.npz`, or the layers as a `.prototxt`.

    Args:
        net: the net.
        path: the file.
        diffs: gradients by the places of the blobs that own their data, to write beside these.

    Raises:
        CaffeCompatError: the suffix is none of these, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix == ".prototxt":
        write_text(with_shapes(net.graph), path)
    elif suffix == ".caffemodel":
        message, places = with_splits(net)
        arrays, grads = _arrays(net, places), _diffs(net, places, diffs)
        snapshot.write_caffemodel(path, message, arrays, grads)
    elif suffix == ".h5":
        message, places = with_splits(net)
        names = [layer.name for layer in message.layer]
        arrays, grads = _arrays(net, places), _diffs(net, places, diffs)
        snapshot.write_hdf5(path, names, arrays, _shared(net, places), grads)
    elif suffix == ".npz":
        names = [node.layer.name for node in net.graph.nodes]
        npz.write(path, names, net.arrays)
    else:
        raise CaffeCompatError(
            f"{path}: ends in none of .caffemodel, .caffemodel.h5, .npz, .prototxt, .onnx"
        )


def with_shapes(graph: Graph) -> NetParameter:
    """Return a graph's layers with the shapes that its Input layers were built at."""
    message = NetParameter()
    message.CopyFrom(graph.net)
    for layer, node in zip(message.layer, graph.nodes, strict=True):
        if layer.type == "Input" and node.layer.shapes() != [top.shape for top in node.tops]:
            layer.input_param.ClearField("shape")
            for top in node.tops:
                layer.input_param.shape.add(dim=top.shape)
    return message


def with_splits(net: Net) -> tuple[NetParameter, list[int | None]]:
    """Return the layers as Caffe saves them, its Split layers included, and each one's node.

    Returns:
        The layers, and for each the index of its node; None for a Split that Caffe inserts.
    """
    message = NetParameter(name=net.graph.net.name)
    places: list[int | None] = []
    for layer in insert_splits(net.graph.net).layer:
        done = len(places) - places.count(None)
        own = done < len(net.graph.nodes) and layer.name == net.graph.nodes[done].layer.name
        places.append(done if own else None)
        message.layer.append(set_up(layer, own and net.graph.nodes[done].layer.loss))
    return message, places


def set_up(layer: LayerParameter, loss: bool) -> LayerParameter:
    """Return a layer's message as Caffe's LayerSetUp leaves it.

    Args:
        layer: the message.
        loss: whether it is a loss, which has a loss weight of 1 unless it has one.
    """
    message = LayerParameter()
    message.CopyFrom(layer)
    message.ClearField("blobs")
    if loss and not message.loss_weight:
        message.loss_weight.append(1)
    if message.type == "BatchNorm":
        message.param.extend([ParamSpec(lr_mult=0)] * (3 - len(message.param)))
    return message


def _arrays(net: Net, places: list[int | None]) -> list[Sequence[Array]]:
    return [() if index is None else net.arrays[index] for index in places]


def _diffs(
    net: Net, places: list[int | None], diffs: Mapping[Place, Array] | None
) -> list[list[Array]] | None:
    if diffs is None:
        return None
    nodes = [None if index is None else net.graph.nodes[index] for index in places]
    return [
        []
        if node is None
        else [diffs[o].reshape(b.shape) for o, b in zip(node.owners, node.blobs, strict=True)]
        for node in nodes
    ]


def _shared(net: Net, places: list[int | None]) -> list[Place]:
    """Return the (layer, blob) of every blob that another layer owns."""
    return [
        (at, i)
        for at, index in enumerate(places)
        if index is not None
        for i, owner in enumerate(net.graph.nodes[index].owners)
        if owner != (index, i)
    ]
