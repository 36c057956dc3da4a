"""Puts the preprocessing into the ONNX model, which then takes pictures: uint8, NHWC, RGB."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import ShapeError, UnsupportedError
from ...net.preprocess import GREY, Preprocess
from ...types import Size
from ..lowering import Lowered

_HEIGHT, _WIDTH = 1, 2  # axes of NHWC


def bake(lowered: Lowered, preprocess: Preprocess, name: str = "image") -> Lowered:
    """The model with the preprocessing before it.

    Its picture input becomes `name`, uint8 [N, height, width, 3] in RGB, of any height and width
    where the preprocessing resizes or cuts. The net's own blob keeps its name inside.

    Args:
        lowered: the model.
        preprocess: what comes before it.
        name: the new input's name.

    Raises:
        ShapeError: the model takes no picture, or the sizes do not fit it.
        UnsupportedError: a mean picture with a net of open sizes.
    """
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    graph = model.graph
    value, dims = _picture_input(graph)
    taken = {n for node in graph.node for n in (*node.input, *node.output)}
    taken |= {i.name for i in graph.input}
    while name in taken:
        name += "_"
    nodes = _Nodes(dims[0])
    channels, net = preprocess.fits(dims)
    before, after = _sizes(preprocess, net)
    x = nodes.grey(name) if channels == 1 else name
    x = nodes.resize(x, before) if before else nodes.add("Cast", x, to=onnx.TensorProto.FLOAT)
    if after and after != before:
        x = nodes.crop(x, before, after)
    x = nodes.add("Transpose", x, perm=[0, 3, 2, 1] if preprocess.transposed else [0, 3, 1, 2])
    if channels == 3 and preprocess.order == "bgr":
        x = nodes.add("Gather", x, np.array([2, 1, 0]), axis=1)
    for op, constant in (
        ("Mul", None if preprocess.raw_scale == 1 else np.float32(preprocess.raw_scale)),
        ("Sub", _mean(preprocess, channels, before, after)),
        ("Mul", None if preprocess.scale == 1 else np.float32(preprocess.scale)),
    ):
        x = x if constant is None else nodes.add(op, x, np.asarray(constant))
    nodes.nodes[-1].output[0] = value.name
    picture = onnx.helper.make_tensor_value_info(
        name,
        onnx.TensorProto.UINT8,
        [_dim(value, 0), *_open_dims(value, net, before, after, preprocess.transposed), 3],
    )
    inputs = [picture if i.name == value.name else i for i in graph.input]
    everything = [*nodes.nodes, *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(everything)
    sizes = {"resize": before, "crop": after}
    model.metadata_props.add(key="caffe_compat.preprocess", value=json.dumps(sizes))
    return Lowered(model, {**lowered.arrays, **nodes.constants}, lowered.changed)


class _Nodes:
    """The nodes of the preprocessing, in order."""

    def __init__(self, batch: int | None) -> None:
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, op: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        """A node of that operator; arrays become constants."""
        names = []
        for x in inputs:
            if isinstance(x, str):
                names.append(x)
                continue
            names.append(f"preprocess/constant_{len(self.constants)}")
            self.constants[names[-1]] = x
        made = f"preprocess/{op}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, names, [made], name=made, **attributes))
        return made

    def grey(self, x: str) -> str:
        """Grey as OpenCV and Pillow round it, still 0 to 255, with one channel."""
        wide = self.add("Cast", x, to=onnx.TensorProto.INT32)
        weighed = self.add("Mul", wide, np.array(GREY, np.int32))
        total = self.add("ReduceSum", weighed, np.array([3]), keepdims=1)
        rounded = self.add("Add", total, np.array(0x8000, np.int32))
        return self.add("Div", rounded, np.array(0x10000, np.int32))

    def resize(self, x: str, size: Size) -> str:
        """preprocess.resize: beyond the border lies the picture's least value."""
        as_float = {"to": onnx.TensorProto.FLOAT}
        least = self.add("ReduceMin", x, np.array([1, 2, 3]), keepdims=1)
        least = self.add("Cast", least, **as_float)
        # The picture stays 8 bits wide until only the rows that count are left of it.
        rows = [
            self.add("Mul", self.add("Sub", self.add("Cast", row, **as_float), least), weight)
            for row, weight in self.neighbours(x, size[0], _HEIGHT)
        ]
        x = self.add("Add", *rows)
        columns = [
            self.add("Mul", column, weight)
            for column, weight in self.neighbours(x, size[1], _WIDTH)
        ]
        return self.add("Add", self.add("Add", *columns), least)

    def neighbours(self, x: str, count: int, axis: int) -> list[tuple[str, str]]:
        """What lies before and behind each of `count` places along an axis, and its weight.

        Beyond the border the weight is 0.
        """
        double = {"to": onnx.TensorProto.DOUBLE}  # float32 would misplace pixels of large pictures
        length = self.add("Shape", x, start=axis, end=axis + 1)
        step = self.add("Div", self.add("Cast", length, **double), np.array(count, np.float64))
        at = self.add("Sub", self.add("Mul", step, np.arange(count) + 0.5), np.array(0.5))
        floor = self.add("Floor", at)
        share = self.add("Sub", at, floor)
        last = self.add("Sub", length, np.array([1]))
        low = self.add("Cast", floor, to=onnx.TensorProto.INT64)
        found = []
        for index, weight in (
            (low, self.add("Sub", np.array(1.0), share)),
            (self.add("Add", low, np.array([1])), share),
        ):
            inside = self.add("Min", self.add("Max", index, np.array([0])), last)
            same = self.add("Cast", self.add("Equal", inside, index), **double)
            held = self.add("Cast", self.add("Mul", weight, same), to=onnx.TensorProto.FLOAT)
            shape = [-1, 1, 1] if axis == _HEIGHT else [-1, 1]
            taken = self.add("Gather", x, inside, axis=axis)
            found.append((taken, self.add("Reshape", held, np.array(shape))))
        return found

    def crop(self, x: str, before: Size | None, after: Size) -> str:
        """The middle of the picture."""
        if before is not None:
            top, left = (before[0] - after[0]) // 2, (before[1] - after[1]) // 2
            start: str | NDArray[Any] = np.array([top, left])
            end: str | NDArray[Any] = np.array([top + after[0], left + after[1]])
        else:
            size = self.add("Shape", x, start=_HEIGHT, end=_WIDTH + 1)
            spare = self.add("Sub", size, np.array(after))
            start = self.add("Div", spare, np.array([2]))
            end = self.add("Add", start, np.array(after))
        return self.add("Slice", x, start, end, np.array([_HEIGHT, _WIDTH]))


def _picture_input(graph: onnx.GraphProto) -> tuple[onnx.ValueInfoProto, list[int | None]]:
    for value in graph.input:
        dims = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        if len(dims) == 4 and dims[1] in (1, 3):
            return value, dims
    raise ShapeError("the net has no input for a picture of 1 or 3 channels to bake into")


def _sizes(
    preprocess: Preprocess, net: tuple[int | None, int | None]
) -> tuple[Size | None, Size | None]:
    """The picture's size before and after the cut; None where the picture's own decides."""
    fixed = (net[0], net[1]) if net[0] and net[1] else None
    if preprocess.resize is None and preprocess.crop is None:
        if fixed is None and (net[0] or net[1]):
            raise ShapeError(f"the net's input is open on one side only, {net}; give --resize")
        return fixed, fixed
    if preprocess.resize is None:
        _, after = preprocess.sizes(preprocess.crop or (0, 0), net)
        return None, after
    return preprocess.sizes(preprocess.resize, net)


def _mean(
    preprocess: Preprocess, channels: int, before: Size | None, after: Size | None
) -> NDArray[Any] | None:
    array = np.asarray(preprocess.mean)
    if array.ndim == 3 and (after is None or (before is None and array.shape[1:] != after)):
        raise UnsupportedError("a mean picture is baked in for one size only; give --resize")
    mean = preprocess.mean_for(channels, before or after or (0, 0), after or (0, 0))
    if mean is None:
        return None
    return np.ascontiguousarray(mean.swapaxes(1, 2) if preprocess.transposed else mean)


def _dim(value: onnx.ValueInfoProto, axis: int) -> int | str | None:
    dim = value.type.tensor_type.shape.dim[axis]
    return dim.dim_param or dim.dim_value or None


def _open_dims(
    value: onnx.ValueInfoProto,
    net: tuple[int | None, int | None],
    before: Size | None,
    after: Size | None,
    transposed: bool,
) -> list[int | str | None]:
    """The picture's height and width: any, but where nothing is resized or cut, the net's."""
    if before or after:
        return ["picture_height", "picture_width"]
    axes = (3, 2) if transposed else (2, 3)
    return [_dim(value, axis) for axis in axes]
