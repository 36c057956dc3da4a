"""A net's prototxt for a stock Caffe, whose fillers have no `a`: the same weights by seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..caffe_pb2 import FillerParameter, LayerParameter, NetParameter
from ..errors import ParseError, ShapeError, UnsupportedError
from ..fillers import sigma
from ..layers.layer import Blob
from ..layers.naming import named
from ..prototxt.phase import admits
from ..prototxt.reader import read_net
from ..prototxt.upgrade import upgrade
from ..prototxt.writer import write_text
from .graph import Graph, Node

__all__ = ["save_stock", "stock"]


def stock(net: NetParameter, graph: Graph, *, fix_decay: bool = False) -> NetParameter:
    """Return the whole net with stock Caffe's fillers: `gaussian` where a slope sets the std.

    A gaussian of msra's std draws the numbers that msra draws, to the last bit.

    Args:
        net: the upgraded net with the layers of every phase; all are written.
        graph: the graph built from it, with the fillers that `slopes.apply` set, if any.
        fix_decay: add `decay_mult: 0` to every PReLU's slopes (He et al. 2015, section 2).

    Raises:
        UnsupportedError: a layer outside the graph has a filler with a slope, whose n is not
            known; or one filler serves several blobs that differ in their std.
    """
    written = NetParameter()
    written.CopyFrom(net)
    nodes = iter(graph.nodes)
    for layer in written.layer:
        node = next(nodes, None) if admits(layer, graph.net.state) else None
        if node is not None:
            if node.layer.name != layer.name:
                raise ShapeError(
                    f"layer '{layer.name}' of the prototxt is '{node.layer.name}' in "
                    "the net built from it"
                )
            with named(layer):
                _write_fillers(layer, node)
        with named(layer):
            _drop_slopes(layer)
        if fix_decay and layer.type == "PReLU":
            spec = layer.param[0] if layer.param else layer.param.add()
            spec.decay_mult = 0
    return written


def _write_fillers(layer: LayerParameter, node: Node) -> None:
    field = node.layer.param
    if field is None or not layer.HasField(field):
        return
    param = getattr(layer, field)
    names = [field.name for field, value in param.ListFields() if type(value) is FillerParameter]
    users = _users(node, names)
    for name in names:
        fillers = [_plain(blob) for blob in users[name]]
        distinct = {str(filler): filler for filler in fillers}
        if len(distinct) > 1:
            stds = ", ".join(
                f"{blob.name} {filler.type} {filler.std:g}"
                for blob, filler in zip(users[name], fillers, strict=True)
            )
            raise UnsupportedError(
                f"its one {name} serves several blobs that differ in their std "
                f"({stds}); a prototxt has one filler for all of them"
            )
        for filler in distinct.values():
            getattr(param, name).CopyFrom(filler)


def _users(node: Node, names: Sequence[str]) -> dict[str, list[Blob]]:
    """Return the blobs that each of the layer's fillers serves, found by marking the fillers."""
    proto = LayerParameter()
    proto.CopyFrom(node.layer.proto)
    param: Any = getattr(proto, node.layer.param or "")
    for i, name in enumerate(names):
        getattr(param, name).CopyFrom(FillerParameter(type="constant", mean=1 + i))
    marked = type(node.layer)(proto).blobs(*(value.shape for value in node.bottoms))
    return {
        name: [
            blob
            for blob, mark in zip(node.blobs, marked, strict=True)
            if mark.filler == getattr(param, name)
        ]
        for name in names
    }


def _plain(blob: Blob) -> FillerParameter:
    """Return a blob's filler without `a`."""
    assert blob.filler is not None
    if blob.filler.type != "msra" or not blob.filler.a:
        return blob.filler
    std = float(sigma(blob.shape, blob.filler))
    if not std > 0:
        raise ShapeError(f"filler 'msra': the std is {std:g} at a = {blob.filler.a:g}")
    return FillerParameter(type="gaussian", std=std)


def _drop_slopes(layer: LayerParameter) -> None:
    """Clear every `a` that has no effect, and refuse the others."""
    for param in (value for _, value in layer.ListFields() if hasattr(value, "ListFields")):
        for field, value in param.ListFields():
            values = [value] if hasattr(value, "ListFields") else value
            for filler in values if field.message_type is FillerParameter.DESCRIPTOR else []:
                if filler.type == "msra" and filler.a:
                    raise UnsupportedError(
                        f"its {field.name} has a = {filler.a:g}, and the layer is not in the net "
                        "of this phase, level and stages: its std is not known"
                    )
                filler.ClearField("a")


def save_stock(
    prototxt: str | Path, graph: Graph, path: str | Path, *, fix_decay: bool = False
) -> None:
    """Write a net's prototxt for a stock Caffe, which draws the same weights at the same seed.

    The layers of all phases are written, in Caffe's current form; where a slope sets the std of
    an msra filler, that is a gaussian of this std.

    Args:
        prototxt: the file that the graph was read from.
        graph: the graph, as `load` gives it in `Net.graph`.
        path: the file to write.
        fix_decay: add `decay_mult: 0` to every PReLU, so that training leaves its slopes alone.

    Raises:
        ParseError: the prototxt has unknown fields, which would be lost.
        UnsupportedError: a stock prototxt cannot express the net.
    """
    net, skipped = read_net(prototxt, graph.net.state.phase)
    if skipped:
        raise ParseError(f"{skipped[0]}; {path} is not written, since it would be lost")
    write_text(stock(upgrade(net), graph, fix_decay=fix_decay), path)
