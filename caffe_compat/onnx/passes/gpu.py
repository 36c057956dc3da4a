"""Write for NVIDIA's GPUs what has no kernel there, or what waits for the CPU at every step.

MaxRoiPool has no CUDA kernel. A Scan runs its body's nodes one by one under the CPU's control, and
so rules out CUDA graphs; one of few steps is written out. MaxPool and Elu have kernels up to opset
21, in which the file is then written.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx

from ...layers.builder import FLOAT, INT64, int64
from .. import writer
from ..lowering import Lowered, stamp
from ..rewriting import Rewriter, Rule, attributes, rewrite

log = logging.getLogger("caffe_compat")

MOST_STEPS = 64  # of a Scan that is written out
LAST_OPSET = 21
"""The last opset in which onnxruntime 1.31 has CUDA kernels for all that it ever has."""
WITHOUT_LATER_KERNELS = frozenset(
    ("Dropout", "Elu", "EyeLike", "InstanceNormalization", "MaxPool", "Selu", "ThresholdedRelu")
)
"""The operators without a CUDA kernel in later opsets."""


def fit(lowered: Lowered) -> Lowered:
    """Return the model in operators that stay on the GPU where there are such."""
    sizes = fixed_sizes(lowered)

    def scan(g: Rewriter, node: onnx.NodeProto) -> tuple[str, ...] | None:
        return _scan(g, node, sizes)

    def regions(g: Rewriter, node: onnx.NodeProto) -> str | None:
        return _max_roi_pool(g, node, sizes)

    rules: dict[str, Rule] = {"Scan": scan, "MaxRoiPool": regions}
    return _with_kernels(rewrite(lowered, rules))


def _with_kernels(lowered: Lowered) -> Lowered:
    """Return the model in the last opset whose operators all have kernels, if it needs that."""
    (opset,) = (each.version for each in lowered.model.opset_import if not each.domain)
    without = WITHOUT_LATER_KERNELS & {node.op_type for node in lowered.model.graph.node}
    if opset <= LAST_OPSET or not without:
        return lowered
    log.info(
        "written in opset %d, not %d, in which onnxruntime has no CUDA kernel for %s",
        LAST_OPSET,
        opset,
        ", ".join(sorted(without)),
    )
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    stamp(model, LAST_OPSET)
    return replace(lowered, model=model)


def fixed_sizes(lowered: Lowered) -> dict[str, tuple[int, ...]]:
    """Return the shapes that are fixed, by tensor."""
    graph = onnx.shape_inference.infer_shapes(writer.declare(lowered)).graph
    sizes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            sizes[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return sizes


def _scan(
    g: Rewriter, node: onnx.NodeProto, sizes: dict[str, tuple[int, ...]]
) -> tuple[str, ...] | None:
    """Write every step of a Scan that has few."""
    p = attributes(node)
    body, count = p["body"], p["num_scan_inputs"]
    states, scanned = list(node.input[:-count]), node.input[-count:]
    axes = p.get("scan_input_axes", [0] * count)
    known = [sizes[x][axis] for x, axis in zip(scanned, axes, strict=True) if x in sizes]
    others = {*p} - {"body", "num_scan_inputs", "scan_input_axes"}
    if not known or not 1 <= known[0] <= MOST_STEPS or others:
        return None
    rows: list[tuple[str, ...]] = []
    for step in range(known[0]):
        parts = [g.Gather(x, np.int64(step), axis=a) for x, a in zip(scanned, axes, strict=True)]
        names = dict(zip((value.name for value in body.input), (*states, *parts), strict=True))
        for inner in body.node:
            outputs = g.copy(inner, [names.get(name, name) or None for name in inner.input])
            names.update(zip(inner.output, outputs, strict=True))
        ends = [names[value.name] for value in body.output]
        states = ends[: len(states)]
        rows.append(tuple(g.Unsqueeze(end, int64(0)) for end in ends[len(states) :]))
    return (*states, *(g.Concat(*parts, axis=0) for parts in zip(*rows, strict=True)))


class _Bins(NamedTuple):
    """The bins of every region along one axis: tensors of (regions, bins), int64.

    Attributes:
        first: the first cell of the part that covers a bin from its start.
        second: that of the part that covers it to its end.
        level: the parts' size is 2^level.
        some: whether the bin has cells, bool.
        levels: how many levels there are.
    """

    first: str
    second: str
    level: str
    some: str
    levels: int


def _max_roi_pool(
    g: Rewriter, node: onnx.NodeProto, sizes: dict[str, tuple[int, ...]]
) -> str | None:
    """Write the max of every bin by tables of maxima: of 2^k rows by 2^m columns from each cell on.

    Four of them cover a bin (the sparse table of range minimum queries; Bender and Farach-Colton
    2000). A bin outside the image is 0.
    """
    p, (x, rois) = attributes(node), node.input
    if x not in sizes:
        return None
    images, channels, height, width = sizes[x]
    scale = np.float32(p.get("spatial_scale", 1))
    corners = _round(g, g.Mul(g.Slice(rois, int64(1), int64(5), int64(1)), scale))
    rows, columns = (
        _bins(g, g.Gather(corners, int64(axis, axis + 2), axis=1), size, bins)
        for axis, size, bins in zip((1, 0), (height, width), p["pooled_shape"], strict=True)
    )
    flat = g.Reshape(_tables(g, x, rows.levels, columns.levels), int64(-1, channels))
    image = g.Cast(g.Slice(rois, int64(0), int64(1), int64(1)), to=INT64)

    def down(part: str) -> str:
        return g.Unsqueeze(part, int64(2))

    def across(part: str) -> str:
        return g.Unsqueeze(part, int64(1))

    table = g.Add(g.Mul(down(rows.level), int64(columns.levels)), across(columns.level))
    plane = g.Add(g.Mul(table, int64(images)), down(image))  # (regions, rows, columns)
    corners_of = []
    for row in (rows.first, rows.second):
        line = g.Add(g.Mul(plane, int64(height)), down(row))
        for column in (columns.first, columns.second):
            cell = g.Add(g.Mul(line, int64(width)), across(column))
            corners_of.append(g.Gather(flat, cell, axis=0))  # (regions, rows, columns, channels)
    some = g.Unsqueeze(g.And(down(rows.some), across(columns.some)), int64(3))
    y = g.Where(some, g.Max(*corners_of), np.float32(0))
    return g.Transpose(y, perm=[0, 3, 1, 2])


def _tables(g: Rewriter, x: str, rows: int, columns: int) -> str:
    """Write the maxima of 2^k rows by 2^m columns: (k and m, images, height, width, channels)."""
    tables = []
    for k, m in np.ndindex(rows, columns):
        kernel = [2**k, 2**m]
        pads = [0, 0, kernel[0] - 1, kernel[1] - 1]
        y = g.MaxPool(x, kernel_shape=kernel, pads=pads) if k or m else x
        tables.append(g.Unsqueeze(y, int64(0)))
    return g.Transpose(g.Concat(*tables, axis=0), perm=[0, 1, 3, 4, 2])


def _bins(g: Rewriter, ends: str, size: int, bins: int) -> _Bins:
    """Write a region's bins along an axis.

    Args:
        g: the graph.
        ends: the first and last cell of each region, (regions, 2).
        size: of the axis.
        bins: how many there are.
    """
    start, last = g.Split(ends, axis=1, num_outputs=2, outputs=2)
    extent = g.Max(g.Add(g.Sub(last, start), np.float32(1)), np.float32(1))
    step = g.Div(extent, np.float32(bins))
    places = np.arange(bins, dtype=np.float32)
    edges = (
        g.Add(g.Floor(g.Mul(step, places)), start),
        g.Add(g.Ceil(g.Mul(step, places + 1)), start),
    )
    low, high = (g.Clip(edge, np.float32(0), np.float32(size)) for edge in edges)
    count = g.Sub(high, low)
    levels = size.bit_length()
    powers = 2.0 ** np.arange(1, max(levels, 2))
    enough = g.GreaterOrEqual(g.Unsqueeze(count, int64(2)), powers.astype(np.float32))
    level = g.ReduceSum(g.Cast(enough, to=FLOAT), int64(2), keepdims=0)
    second = g.Sub(high, g.Pow(np.float32(2), level))
    inside = (np.float32(0), np.float32(size - 1))
    first, second = (g.Cast(g.Clip(x, *inside), to=INT64) for x in (low, second))
    return _Bins(
        first, second, g.Cast(level, to=INT64), g.Greater(count, np.float32(0)), max(levels, 2)
    )


def _round(g: Rewriter, x: str) -> str:
    """Write C's round, halves away from zero."""
    size = g.Abs(x)
    whole = g.Floor(size)
    half = g.Cast(g.GreaterOrEqual(g.Sub(size, whole), np.float32(0.5)), to=FLOAT)
    return g.Mul(g.Sign(x), g.Add(whole, half))
