"""Write a net as Caffe saves it: its weights, or its prototxt."""

from __future__ import annotations

from pathlib import Path

from ..caffe_pb2 import NetParameter, ParamSpec
from ..errors import CaffeCompatError
from ..prototxt.splits import insert_splits
from ..prototxt.writer import write_text
from ..types import Array
from ..weights import snapshot
from .net import Net
from .sharing import Place


def save(net: Net, path: str | Path) -> None:
    """Write a `.caffemodel`, Caffe's HDF5 (`.h5`), or the net's layers as a `.prototxt`.

    Raises:
        CaffeCompatError: the suffix is none of these, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix == ".prototxt":
        write_text(net.graph.net, path)
    elif suffix == ".caffemodel":
        message, places = with_splits(net)
        snapshot.write_caffemodel(path, message, [_arrays(net, index) for index in places])
    elif suffix == ".h5":
        message, places = with_splits(net)
        names = [layer.name for layer in message.layer]
        arrays = [_arrays(net, index) for index in places]
        snapshot.write_hdf5(path, names, arrays, _shared(net, places))
    else:
        raise CaffeCompatError(
            f"{path}: ends in none of .caffemodel, .caffemodel.h5, .prototxt, .onnx"
        )


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
        saved = message.layer.add()
        saved.CopyFrom(layer)
        if layer.type == "BatchNorm":
            del saved.param[:]
            saved.param.extend([ParamSpec(lr_mult=0)] * 3)
    return message, places


def _arrays(net: Net, index: int | None) -> tuple[Array, ...]:
    return () if index is None else net.arrays[index]


def _shared(net: Net, places: list[int | None]) -> list[Place]:
    """Return the (layer, blob) of every blob that another layer owns."""
    return [
        (at, i)
        for at, index in enumerate(places)
        if index is not None
        for i, owner in enumerate(net.graph.nodes[index].owners)
        if owner != (index, i)
    ]
