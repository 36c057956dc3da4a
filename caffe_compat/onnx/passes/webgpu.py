"""Write for onnxruntime's WebGPU provider what it lacks or computes wrongly.

Measured with onnxruntime-web 1.30, bundle ort.webgpu, over all golden nets of layers. A convolution
of groups is silently wrong if the outputs of a group are several, and their number is no multiple
of the vector (4 or 2 numbers) in which the provider writes all outputs together. MaxPool has no
Indices.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx

from ...layers.builder import int64
from ...layers.pools import LOWEST
from ..lowering import Lowered
from ..rewriting import Rewriter, Rule, attributes, rewrite
from .gpu import fixed_sizes

_END = np.iinfo(np.int64).max


def fit(lowered: Lowered) -> Lowered:
    """Return the model in operators that WebGPU computes exactly."""
    pool = partial(write_indices, sizes=fixed_sizes(lowered))
    rules: dict[str, Rule] = {"Conv": _conv, "MaxPool": pool}
    return rewrite(lowered, rules)


def _conv(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Write a convolution of groups by several: group by group, or one output of each group."""
    p = attributes(node)
    groups, weights = p.get("group", 1), g.initializer(node.input[1])
    if groups == 1 or weights is None:
        return None
    outputs = len(weights) // groups
    vector = next(n for n in (4, 2, 1) if len(weights) % n == 0)
    if outputs == 1 or outputs % vector == 0:
        return None
    x, *blobs = node.input
    if groups <= outputs:
        parts = g.Split(x, axis=1, num_outputs=groups, outputs=groups)
        rows = [(i * outputs, (i + 1) * outputs, 1) for i in range(groups)]
        return g.Concat(
            *(
                g.again(node, part, *_rows(g, blobs, *row), group=1)
                for part, row in zip(parts, rows, strict=True)
            ),
            axis=1,
        )
    each = [g.again(node, x, *_rows(g, blobs, i, _END, outputs)) for i in range(outputs)]
    y = g.Concat(*(g.Unsqueeze(part, int64(2)) for part in each), axis=2)
    image = g.Shape(each[0], start=2)
    return g.Reshape(y, g.Concat(int64(0, len(weights)), image, axis=0))


def _rows(g: Rewriter, blobs: list[str], start: int, end: int, step: int) -> list[str]:
    """Write some rows of weights and bias."""
    return [g.Slice(b, int64(start), int64(end), int64(0), int64(step)) for b in blobs]


def write_indices(
    g: Rewriter, node: onnx.NodeProto, sizes: dict[str, tuple[int, ...]]
) -> tuple[str, ...] | None:
    """Write a MaxPool with Indices without them: of fixed sizes, cell of the window by cell.

    The index is that within the plane of each window's first max.

    Args:
        g: the graph.
        node: the MaxPool.
        sizes: the fixed shapes by tensor.
    """
    if len(node.output) == 1 or node.input[0] not in sizes or node.output[0] not in sizes:
        return None
    p, x = attributes(node), node.input[0]
    kernel, out = p["kernel_shape"], sizes[node.output[0]][2:]
    strides, pads = p.get("strides", [1, 1]), p.get("pads", [0] * 4)
    y = g.MaxPool(x, **p)
    padded = g.Pad(x, int64(0, 0, *pads[:2], 0, 0, *pads[2:]), np.float32(LOWEST))
    index = g.constant(np.zeros((1, 1, *out), np.int32))
    for cell in reversed(list(np.ndindex(*kernel))):  # the first of equal ones is written last
        ends = [c + (o - 1) * s + 1 for c, o, s in zip(cell, out, strides, strict=True)]
        values = g.Slice(padded, int64(*cell), int64(*ends), int64(2, 3), int64(*strides))
        rows, columns = (
            np.arange(o) * s + c - before
            for o, s, c, before in zip(out, strides, cell, pads, strict=False)
        )
        here = (rows[:, None] * sizes[x][3] + columns).astype(np.int32)
        index = g.Where(g.Equal(values, y), here, index)
    return y, g.Cast(index, to=onnx.TensorProto.INT64)
