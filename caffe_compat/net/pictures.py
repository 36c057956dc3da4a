"""Sizes and channels of the pictures that data layers read, from other parts of a net's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ..caffe_pb2 import LayerParameter, NetParameter, ResizeParameter
from ..types import Dims, Shape
from .creation import Creator

Size: TypeAlias = tuple[int, int, int]

LIKELY: tuple[Size, ...] = (
    *((channels, 224, 224) for channels in (3, 1, 2)),
    (3, 227, 227),
    (3, 299, 299),
    (3, 360, 480),
    *((channels, 224, 224) for channels in (9, 10, 30)),
    *((channels, 64, 64) for channels in (3, 1)),
    (3, 32, 32),
    (3, 512, 512),
    (12, 224, 224),
)
"""Channels, height and width of pictures that a file does not state, the likeliest first.

Colour, grey, a pair, AlexNet's, Inception's, SegNet's, the segments of a video, small ones, large
ones, and four frames.
"""

# Channels, height and width of well-known data sets, by a word in the names of their files.
_DATA_SETS: dict[str, tuple[Size, ...]] = {
    "CIFAR": ((3, 32, 32),),
    "MNIST": ((1, 28, 28), (2, 28, 28)),
}


# Layers with weights for each channel, as they stand between pictures and convolutions.
_OF_CHANNELS = {"BN", "BatchNorm", "Bias", "PReLU", "Scale"}


def data_sets(layers: Iterable[LayerParameter]) -> dict[str, tuple[Size, ...]]:
    """Return the well-known data sets whose names data layers' files have, and their sizes."""
    sources = " ".join(layer.data_param.source.upper() for layer in layers)
    return {word: sizes for word, sizes in _DATA_SETS.items() if word in sources}


def reader_of(blob: str, net: NetParameter) -> LayerParameter | None:
    """Return the first layer without bottoms that has a blob as its top."""
    return next((each for each in net.layer if blob in each.top and not each.bottom), None)


def declared(layer: LayerParameter) -> Shape:
    """Return the shape that a layer of one top has in an input_param; none where it has none."""
    shapes = layer.input_param.shape
    alone = len(shapes) == len(layer.top) == 1 and not layer.bottom
    return tuple(shapes[0].dim) if alone and min(shapes[0].dim, default=0) > 0 else ()


def extent(blob: str, net: NetParameter) -> tuple[int | None, int | None]:
    """Return the height and width of a blob's pictures that a transform_param states, or None.

    The pictures are a data layer's first top.
    """
    for layer in net.layer:
        p = layer.transform_param
        if layer.bottom or list(layer.top[:1]) != [blob]:
            continue
        if p.crop_size:
            return p.crop_size, p.crop_size
        if p.crop_h and p.crop_w:
            return p.crop_h, p.crop_w
        resize = p.resize_param
        if resize.height and resize.width and resize.resize_mode != ResizeParameter.FIT_SMALL_SIZE:
            return resize.height, resize.width
    return None, None


def channels(
    blob: str, net: NetParameter, stored: Mapping[str, Sequence[Shape]]
) -> tuple[int, str] | None:
    """Return the channels that stored weights tell of a blob, and the layer that they are of."""
    for layer in net.layer:
        shapes = stored.get(layer.name)
        if layer.type == "Convolution" and blob in layer.bottom and shapes and len(shapes[0]) == 4:
            return shapes[0][1] * layer.convolution_param.group, layer.name
    return None


def has_pictures(blob: str, net: NetParameter, creator: Creator) -> bool:
    """Return whether a blob reaches convolutions before it reaches any other layer with weights."""
    reached, convolved = {blob}, False
    for layer in net.layer:
        if not reached.intersection(layer.bottom):
            continue
        if "conv" in layer.type.lower():
            convolved = True
        elif creator.learns(layer) and layer.type not in _OF_CHANNELS:
            return False
        else:
            reached.update(layer.top)
    return convolved


def filled(dims: Dims, picture: Size) -> Dims:
    """Return a shape with a picture's sizes where it has None."""
    sizes = (1, *picture)
    return tuple(sizes[axis] if n is None else n for axis, n in enumerate(dims))
