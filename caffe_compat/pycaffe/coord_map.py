"""`caffe.coord_map`: how the coordinates of one top relate to those of another.

A map is (axis, scale, shift): coordinate i of the output lies at `scale * i + shift` of the
input; axis None is a layer that leaves coordinates alone. FCNs crop by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..types import AnyArray
from .net_spec import Function, Top
from .net_spec import layers as L  # noqa: N812 - Caffe's own name for it

Map: TypeAlias = tuple[Any, Any, Any]

PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Log", "LRN", "Exp", "MVN",
    "Power", "ReLU", "PReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold",
]  # fmt: skip
_UNEVEN = {"pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w"}
_IDENTITY: Map = (None, 1, 0)


class UndefinedMapException(Exception):  # noqa: N818 - Caffe's name
    """A layer whose tops have no coordinates in its bottoms."""


class AxisMismatchException(Exception):  # noqa: N818 - Caffe's name
    """Maps of different axes, which cannot be composed."""


def conv_params(fn: Function) -> tuple[int, AnyArray, AnyArray, AnyArray]:
    """Return axis, stride, extent of the (dilated) kernel and padding of a sliding window."""
    params = fn.params.get("convolution_param", fn.params)
    if _UNEVEN & set(fn.params):
        raise AssertionError("cropping does not support legacy _h/_w params")

    def sizes(name: str, *default: int) -> AnyArray:
        value = params.get(name, *default) if default else params[name]
        return np.array(value, ndmin=1)

    extent = (sizes("kernel_size") - 1) * sizes("dilation", 1) + 1
    return params.get("axis", 1), sizes("stride", 1), extent, sizes("pad", 0)


def crop_params(fn: Function) -> tuple[int, AnyArray]:
    """Return axis and offset of a Crop layer."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """Return the map of a layer.

    Raises:
        UndefinedMapException: the layer has none.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # the axis before the first that is cropped
    raise UndefinedMapException


def compose(base_map: Map, next_map: Map) -> Map:
    """Return the map that applies `next_map` first and `base_map` to its result.

    Raises:
        AxisMismatchException: both have an axis, and not the same.
    """
    axis, scale, shift = base_map
    next_axis, next_scale, next_shift = next_map
    if axis is not None and next_axis is not None and axis != next_axis:
        raise AxisMismatchException
    return (
        next_axis if axis is None else axis,
        scale * next_scale,
        scale * next_shift + shift,
    )


def inverse(coord_map: Map) -> Map:
    """Return the map back."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """Return the map between two tops, by way of a blob that both come from.

    Raises:
        RuntimeError: no layers with maps connect them.
    """
    from_maps = _maps_to_ancestors(top_from)
    to_maps = _maps_to_ancestors(top_to, stop=from_maps.__contains__)
    for top, found in to_maps.items():
        if top in from_maps:
            return compose(found, inverse(from_maps[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def _maps_to_ancestors(top: Top, stop: Callable[[Top], bool] = lambda _: False) -> dict[Top, Map]:
    """Return the maps from a top to those that it is computed from, as far as there are maps."""
    maps: dict[Top, Map] = {top: _IDENTITY}
    frontier = [top]
    while frontier:
        current = frontier.pop()
        if stop(current):
            continue
        try:
            for bottom in _mapped_bottoms(current.fn):
                maps[bottom] = compose(maps[current], coord_map(current.fn))
                frontier.append(bottom)
        except UndefinedMapException:
            continue
    return maps


def _mapped_bottoms(fn: Function) -> Iterable[Top]:
    """Return the bottoms that share a layer's coordinates; Crop's second gives a size alone."""
    bottoms: Sequence[Top] = fn.inputs
    return bottoms[:1] if fn.type_name == "Crop" else bottoms


def crop(top_from: Top, top_to: Top) -> Top:
    """Return a Crop layer that cuts one top to the other's size, at the matching coordinates.

    Raises:
        AssertionError: the tops differ in scale, or the offset is negative or no whole number.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, shift = np.asarray(scale), np.asarray(shift)
    if not (scale == 1).all():
        raise AssertionError(f"scale mismatch on crop (a = {scale})")
    if not (shift <= 0).all():
        raise AssertionError(f"cannot crop negative offset (b = {shift})")
    if not (np.round(shift) == shift).all():
        raise AssertionError(f"cannot crop noninteger offset (b = {shift})")
    offset = (-np.round(shift).astype(int)).tolist()
    top: Top = L.Crop(top_from, top_to, crop_param={"axis": axis + 1, "offset": offset})
    return top
