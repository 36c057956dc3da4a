"""Cut a net: up to some blobs, or without some layers and what depends on them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import ShapeError
from .flow import Flow, read_blobs, with_layers

_LISTED = 500  # layers of a list
_PAIRS = frozenset(("ImageData", "MemoryData", "WindowData"))  # Caffe takes them with 2 tops alone


def cut_until(net: NetParameter, blobs: Sequence[str]) -> NetParameter:
    """Return the layers that some blobs depend on; a blob in its last version.

    Args:
        net: an upgraded net whose layers are selected; not changed.
        blobs: the blobs.

    Raises:
        ShapeError: no layer has a top of that name.
    """
    flow = Flow.of(net)
    for blob in blobs:
        if blob not in flow.writers:
            raise ShapeError(
                f"until={blob!r}: the net has no such blob{_nearest(blob, flow.writers)}",
                remedies=("until",),
            )
    kept = flow.above(flow.writers[blob] for blob in blobs)
    return _keep(net, kept, blobs)


def leave_out(net: NetParameter, names: Sequence[str]) -> NetParameter:
    """Return the net without some layers, and without all that reads their tops.

    Args:
        net: an upgraded net whose layers are selected; not changed.
        names: of layers, or of layer types.

    Raises:
        ShapeError: no layer has that name or type, or nothing is left.
    """
    known = {word for layer in net.layer for word in (layer.name, layer.type)}
    for name in names:
        if name not in known:
            raise ShapeError(
                f"leave_out={name!r}: no layer has that name or type{_nearest(name, known)}",
                remedies=("leave_out",),
            )
    out = {i for i, each in enumerate(net.layer) if each.name in names or each.type in names}
    kept = set(range(len(net.layer))) - Flow.of(net).below(out)
    cut = _keep(net, kept)
    if not cut.layer:
        raise ShapeError(f"leave_out={tuple(names)!r} leaves nothing of the net")
    return cut


def removed(before: NetParameter, after: NetParameter) -> list[LayerParameter]:
    """Return the layers of a net that another, made from it, has no longer."""
    names = {layer.name for layer in after.layer}
    return [layer for layer in before.layer if layer.name not in names]


def list_layers(layers: Iterable[LayerParameter]) -> str:
    """Return layers as `conv1 (Convolution), relu1 (ReLU)`; of very many the first."""
    words = [f"{layer.name} ({layer.type})" for layer in layers]
    more = [f"and {len(words) - _LISTED} more"] if len(words) > _LISTED else []
    return ", ".join(words[:_LISTED] + more)


def _keep(net: NetParameter, kept: Collection[int], ends: Collection[str] = ()) -> NetParameter:
    """Return some of the layers; a fed top that only the others read is no input any more."""
    layers = [layer for index, layer in enumerate(net.layer) if index in kept]
    lost = read_blobs(net.layer) - read_blobs(layers) - set(ends)
    if ends:
        lost |= {top for layer in layers if not layer.bottom for top in layer.top}
        lost -= read_blobs(layers) | set(ends)
    trimmed = (each if each.bottom else drop_tops(each, lost) for each in layers)
    return with_layers(net, (layer for layer in trimmed if layer is not None))


def drop_tops(layer: LayerParameter, lost: Collection[str]) -> LayerParameter | None:
    """Return a layer without bottoms, and without some of its tops; None where none is left.

    The tops of an Input go with their shapes. Of any other layer only the last tops can go, since
    their places tell what they are; and none of a layer that Caffe takes with 2 tops alone.
    """
    tops = list(layer.top)
    if all(top in lost for top in tops):
        return None
    new = LayerParameter()
    new.CopyFrom(layer)
    if layer.type == "Input":
        places = [place for place, top in enumerate(tops) if top not in lost]
        shapes = layer.input_param.shape
        if len(shapes) == len(tops) > 1:
            new.input_param.ClearField("shape")
            new.input_param.shape.extend(shapes[place] for place in places)
        new.top[:] = [tops[place] for place in places]
    elif layer.type not in _PAIRS:
        while new.top and new.top[-1] in lost:
            del new.top[-1]
    return new


def _nearest(name: str, known: Collection[str]) -> str:
    """Return a proposal for a name that is not known, or nothing."""
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f"; do you mean {near[0]!r}?" if near else ""
