"""Put the preprocessing into the ONNX model, whose input is then an image: uint8, NHWC, RGB."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import onnx

from ...errors import ShapeError, UnsupportedError
from ...layers.builder import DOUBLE, FLOAT, INT32, INT64, Builder, Operand, int64
from ...net.preprocess import GREY, Preprocess
from ...types import AnyArray, Size
from ..lowering import Lowered
from ..rewriting import Rewriter
from .constants import fold_constants

_HEIGHT, _WIDTH = 1, 2  # axes of NHWC


def bake(
    lowered: Lowered, preprocess: Preprocess, name: str = "image", size: Size | None = None
) -> Lowered:
    """Return the model with the preprocessing before it.

    Its image input becomes `name`, uint8 [N, height, width, 3] in RGB, of any height and width
    if the preprocessing resizes or crops. The net's own blob keeps its name inside.

    Args:
        lowered: the model.
        preprocess: the preprocessing.
        name: the new input's name.
        size: the height and width of every image, for a model that computes nothing from them.

    Raises:
        ShapeError: the model has no image input, or the sizes do not fit it.
        UnsupportedError: a mean image with a net of open sizes.
    """
    graph = lowered.model.graph
    value, dims = _image_input(graph)
    g = Rewriter(lowered)
    name = g.unique(name)
    channels, net = preprocess.fits(dims)
    before, after = preprocess.sizes(size, net) if size else _sizes(preprocess, net)
    g.begin("preprocess")
    x = _grey(g, name) if channels == 1 else name
    x = _resize(g, x, before, size) if before and before != size else g.Cast(x, to=FLOAT)
    if after and after != before:
        x = _crop(g, x, before, after)
    x = g.Transpose(x, perm=[0, 3, 2, 1] if preprocess.transposed else [0, 3, 1, 2])
    if channels == 3 and preprocess.order == "bgr":
        x = g.Gather(x, int64(2, 1, 0), axis=1)
    x = x if preprocess.raw_scale == 1 else g.Mul(x, np.float32(preprocess.raw_scale))
    mean = _mean(preprocess, channels, before, after)
    x = x if mean is None else g.Sub(x, mean)
    x = x if preprocess.scale == 1 else g.Mul(x, np.float32(preprocess.scale))
    g.end([x], [value.name])
    for node in graph.node:
        g.rewrite(node)
    baked = g.lowered()
    image = onnx.helper.make_tensor_value_info(
        name,
        onnx.TensorProto.UINT8,
        [_dim(value, 0), *(size or _open_dims(value, before, after, preprocess.transposed)), 3],
    )
    inputs = [image if i.name == value.name else i for i in graph.input]
    del baked.model.graph.input[:]
    baked.model.graph.input.extend(inputs)
    sizes = {"resize": before, "crop": after}
    baked.model.metadata_props.add(key="caffe_compat.preprocess", value=json.dumps(sizes))
    return fold_constants(baked) if size else baked


def _grey(g: Builder, x: str) -> str:
    """Write grey, rounded as by OpenCV and Pillow, still 0 to 255, with one channel."""
    weighed = g.Mul(g.Cast(x, to=INT32), np.array(GREY, np.int32))
    total = g.ReduceSum(weighed, int64(3), keepdims=1)
    return g.Div(g.Add(total, np.int32(0x8000)), np.int32(0x10000))


def _resize(g: Builder, x: str, size: Size, known: Size | None) -> str:
    """Write preprocess.resize, with the image's min beyond the border.

    Args:
        g: the graph.
        x: the image, (N, height, width, channels).
        size: the size to resize to.
        known: the image's own size, if it is known.
    """
    low = g.Cast(g.ReduceMin(x, int64(1, 2, 3), keepdims=1), to=FLOAT)
    rows, columns = (
        np.full(1, known[axis - _HEIGHT], np.float64) if known else _length(g, x, axis)
        for axis in (_HEIGHT, _WIDTH)
    )
    # The image stays 8 bits wide until its rows are gathered.
    above, below = (
        g.Mul(g.Sub(g.Cast(row, to=FLOAT), low), weight)
        for row, weight in _neighbours(g, x, size[0], _HEIGHT, rows)
    )
    x = g.Add(above, below)
    left, right = (
        g.Mul(column, weight) for column, weight in _neighbours(g, x, size[1], _WIDTH, columns)
    )
    return g.Add(g.Add(left, right), low)


def _length(g: Builder, x: str, axis: int) -> str:
    """Write the length of an axis as a sum of ones.

    onnxruntime computes on the CPU what depends on a Shape, and copies it to the GPU.
    """
    others = int64(*(each for each in range(4) if each != axis))
    line = g.Cast(g.Slice(x, int64(0, 0, 0), int64(1, 1, 1), others), to=DOUBLE)
    ones = g.Add(g.Mul(line, np.float64(0)), np.float64(1))
    return g.Reshape(g.ReduceSum(ones, int64(axis), keepdims=1), int64(1))


def _neighbours(
    g: Builder, x: str, count: int, axis: int, length: Operand
) -> Iterator[tuple[str, str]]:
    """Write the pixels before and behind each of `count` points along an axis, and their weights.

    Beyond the border the weight is 0.
    """
    # float32 would misplace pixels of large images.
    step = g.Div(length, np.float64(count))
    at = g.Sub(g.Mul(step, np.arange(count) + 0.5), np.float64(0.5))
    floor = g.Floor(at)
    share = g.Sub(at, floor)
    last = g.Sub(length, np.float64(1))
    for index, weight in (
        (floor, g.Sub(np.float64(1), share)),
        (g.Add(floor, np.float64(1)), share),
    ):
        inside = g.Min(g.Max(index, np.float64(0)), last)
        same = g.Cast(g.Equal(inside, index), to=DOUBLE)
        share_inside = g.Cast(g.Mul(weight, same), to=FLOAT)
        shape = int64(-1, 1, 1) if axis == _HEIGHT else int64(-1, 1)
        yield g.Gather(x, g.Cast(inside, to=INT64), axis=axis), g.Reshape(share_inside, shape)


def _crop(g: Builder, x: str, before: Size | None, after: Size) -> str:
    """Write the middle of the image."""
    if before is not None:
        top, left = (before[0] - after[0]) // 2, (before[1] - after[1]) // 2
        start: Operand = int64(top, left)
        end: Operand = int64(top + after[0], left + after[1])
    else:
        size = g.Shape(x, start=_HEIGHT, end=_WIDTH + 1)
        start = g.Div(g.Sub(size, int64(*after)), int64(2))
        end = g.Add(start, int64(*after))
    return g.Slice(x, start, end, int64(_HEIGHT, _WIDTH))


def _image_input(graph: onnx.GraphProto) -> tuple[onnx.ValueInfoProto, list[int | None]]:
    for value in graph.input:
        dims = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        if len(dims) == 4 and dims[1] in (1, 3):
            return value, dims
    raise ShapeError("the net has no input of an image of 1 or 3 channels for the preprocessing")


def _sizes(
    preprocess: Preprocess, net: tuple[int | None, int | None]
) -> tuple[Size | None, Size | None]:
    """Return the image's size before and after the crop, None where it is the image's own."""
    fixed = (net[0], net[1]) if net[0] and net[1] else None
    if preprocess.resize is None and preprocess.crop is None:
        if fixed is None and (net[0] or net[1]):
            raise ShapeError(
                f"the net's input is open on one side only, {net}; give a size (resize=...)",
                remedies=("resize",),
            )
        return fixed, fixed
    if preprocess.resize is None:
        _, after = preprocess.sizes(preprocess.crop or (0, 0), net)
        return None, after
    return preprocess.sizes(preprocess.resize, net)


def _mean(
    preprocess: Preprocess, channels: int, before: Size | None, after: Size | None
) -> AnyArray | None:
    array = np.asarray(preprocess.mean)
    if array.ndim == 3 and (after is None or (before is None and array.shape[1:] != after)):
        raise UnsupportedError(
            "a mean image is baked in for one size only; give a size (resize=...)",
            remedies=("resize",),
        )
    mean = preprocess.mean_for(channels, before or after or (0, 0), after or (0, 0))
    if mean is None:
        return None
    return np.ascontiguousarray(mean.swapaxes(1, 2) if preprocess.transposed else mean)


def _dim(value: onnx.ValueInfoProto, axis: int) -> int | str | None:
    dim = value.type.tensor_type.shape.dim[axis]
    return dim.dim_param or dim.dim_value or None


def _open_dims(
    value: onnx.ValueInfoProto, before: Size | None, after: Size | None, transposed: bool
) -> list[int | str | None]:
    """Return the image's height and width: any, or the net's if nothing is resized or cropped."""
    if before or after:
        return ["picture_height", "picture_width"]
    axes = (3, 2) if transposed else (2, 3)
    return [_dim(value, axis) for axis in axes]
