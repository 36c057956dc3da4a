"""Turn what the caller gives shapes for into inputs, where nothing that can run computes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import CaffeCompatError
from ..layers.layer import Layer
from ..prototxt.cut import drop_tops
from ..prototxt.flow import read_blobs, with_layers
from ..types import Shape
from .creation import Creator

Given = Mapping[str, Sequence[int | None]]


def feed(net: NetParameter, inputs: Given, creator: Creator) -> NetParameter:
    """Add or put in place the Input layers that the given shapes ask for.

    These are blobs that no layer makes, the tops of layers without bottoms, and the tops of layers
    that cannot run. A layer becomes an Input once every top of it that is read is given; one that
    works in place on a data layer's top is left out. A data layer that can run stays, and takes the
    batch of a given top where it has none of its own. A blob that nothing reads is no input.

    Args:
        net: an upgraded net whose layers are selected; not changed.
        inputs: the given shapes by blob.
        creator: tells which layers can run.
    """
    if not inputs:
        return net
    fed = with_layers(net, _fed_layers(net, inputs, creator))
    lost = read_blobs(net.layer) - read_blobs(fed.layer) - inputs.keys()
    layers = (each if each.bottom else drop_tops(each, lost) for each in fed.layer)
    return with_layers(fed, (layer for layer in layers if layer is not None))


def _fed_layers(net: NetParameter, inputs: Given, creator: Creator) -> Iterator[LayerParameter]:
    read, known = read_blobs(net.layer), set[str]()
    fed: set[str] = set()  # what a layer without bottoms has as its top, and no other has changed
    for layer in net.layer:
        for blob in layer.bottom:
            if blob in inputs and blob not in known:
                known.add(blob)
                fed.add(blob)
                yield input_layer(blob, [blob])
        known.update(layer.top)
        new = _replaced(layer, inputs, read, creator)
        in_place = layer.bottom and not new.bottom and fed.issuperset(new.top)
        if not in_place:
            yield new
        fed = fed - set(new.top) if new.bottom else fed | set(new.top)


def _replaced(
    layer: LayerParameter, inputs: Given, read: Iterable[str], creator: Creator
) -> LayerParameter:
    """Return the layer, or the Input in its place."""
    given = [top for top in layer.top if top in inputs]
    if not given or layer.type == "Input":
        return layer
    created = creator.attempt(layer)
    if created is not None and layer.bottom:
        return layer
    if created is not None and (created.has_source or created.one_batch):
        layer = _with_batch(layer, created, given[0], inputs[given[0]])
        if states_shapes(layer, creator):
            return layer
    needed = [top for top in layer.top if top in read]
    if set(needed) <= set(given):
        return input_layer(given[0] if layer.bottom else layer.name, given, layer)
    return layer


def states_shapes(layer: LayerParameter, creator: Creator) -> bool:
    """Return whether a layer without bottoms can run as it is written."""
    created = creator.attempt(layer)
    try:
        return created is not None and bool(created.shapes())
    except CaffeCompatError:
        return False


def source_shapes(net: NetParameter, creator: Creator) -> Mapping[str, Shape]:
    """Return the shapes of what a net's data layers read, where these state them."""
    shapes: dict[str, Shape] = {}
    for proto in net.layer:
        layer = None if proto.bottom else creator.attempt(proto)
        if layer is None or not layer.feeds():
            continue
        try:
            stated = layer.shapes()
        except CaffeCompatError:
            continue
        own = zip(proto.top, stated, strict=False)
        shapes |= {top: shape for top, shape in own if shape is not None}
    return shapes


def input_layer(
    name: str, tops: Iterable[str], old: LayerParameter | None = None
) -> LayerParameter:
    """Return an Input without shapes, with the preprocessing of the layer that it replaces."""
    new = LayerParameter(name=name, type="Input", top=tops)
    new.input_param.SetInParent()
    if old is not None:
        new.phase = old.phase
        if old.HasField("transform_param"):
            new.transform_param.CopyFrom(old.transform_param)
    return new


def _with_batch(
    layer: LayerParameter, created: Layer, top: str, dims: Sequence[int | None]
) -> LayerParameter:
    """Return a data layer with a batch that fits a given shape, where it has none of its own.

    So it is for an open batch too, where the layer does not state the shape that it is built at.
    """
    size = getattr(getattr(layer, created.param or ""), "batch_size", None)
    if not dims or size is None:
        return layer
    if size and (dims[0] is not None or _states(created, list(layer.top).index(top))):
        return layer
    new = LayerParameter()
    new.CopyFrom(layer)
    getattr(new, created.param or "").batch_size = dims[0] or 1
    return new


def _states(layer: Layer, top: int) -> bool:
    """Return whether a data layer states a top's shape."""
    try:
        return layer.shapes()[top] is not None
    except CaffeCompatError:
        return False
