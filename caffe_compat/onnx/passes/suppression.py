"""Suppress boxes on CUDA without onnxruntime's NonMaxSuppression, which waits for every label.

Its CUDA kernel takes one label of one image at a time, and waits for the GPU at each. Here all
pairs of all labels are compared at once. A candidate stays if no better one that stays overlaps it.
The solution is unique, and repeating the rule from any start reaches it in as many steps as the
longest chain of overlaps has links. A Loop repeats it until nothing changes, usually once or twice.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np
import onnx

from ...layers.builder import BOOL, FLOAT, INT64, int64
from ..lowering import Lowered
from ..rewriting import Rewriter, rewrite
from .gpu import fixed_sizes

MOST_PAIRS = 2**28
"""More pairs of a net's candidates, 4 bytes each and several times, would need too much memory."""
FLOAT16 = int(onnx.TensorProto.FLOAT16)
STEPS = 4  # of a trip of the Loop, which ends with a question from the CPU


def compare_pairs(lowered: Lowered) -> Lowered:
    """Return the model with DetectionOutput's masks by pairs, where its sizes are fixed."""
    if not any(node.op_type == "NonMaxSuppression" for node in lowered.model.graph.node):
        return lowered
    return rewrite(lowered, {"ScatterND": partial(_mask, sizes=fixed_sizes(lowered))})


def _mask(g: Rewriter, node: onnx.NodeProto, sizes: dict[str, tuple[int, ...]]) -> str | None:
    """Write the marks of the boxes that stay, if a ScatterND sets them from NonMaxSuppression's."""
    suppression = g.producer(node.input[1])
    if suppression is None or suppression.op_type != "NonMaxSuppression":
        return None
    boxes, scores, most, limit, least = suppression.input
    size, none, enough = sizes.get(boxes), g.known(node.input[0]), g.known(most)
    if size is None or none is None or enough is None or not _falls(g, scores):
        return None
    if enough < size[1] or prod(size[:2]) * size[1] > MOST_PAIRS:
        return None
    valid = g.Greater(scores, least)  # (images and labels, 1, candidates)
    stays = _settle(g, valid, _overlaps(g, boxes, limit, size[1]), size[1])
    return g.Cast(stays, to=FLOAT) if none.dtype == np.float32 else stays


def _falls(g: Rewriter, scores: str) -> bool:
    """Return whether scores are those of a TopK, in falling order."""
    node = g.producer(scores)
    while node is not None and node.op_type in ("Cast", "Reshape"):
        scores = node.input[0]
        node = g.producer(scores)
    return node is not None and node.op_type == "TopK" and scores == node.output[0]


def _overlaps(g: Rewriter, boxes: str, limit: str, count: int) -> str:
    """Write which candidate (rows) suppresses which later one (columns) if it stays.

    1 or 0 in float16, in which MatMul counts on a GPU's tensor cores, at half the memory.
    """
    corners = g.Split(boxes, axis=2, num_outputs=4, outputs=4)
    own = tuple(g.Transpose(x, perm=[0, 2, 1]) for x in corners)

    def extent(axis: int) -> str:
        low = g.Max(corners[axis], own[axis])
        return g.Relu(g.Sub(g.Min(corners[axis + 2], own[axis + 2]), low))

    common = g.Mul(extent(0), extent(1))
    width, height = (g.Sub(corners[axis + 2], corners[axis]) for axis in (0, 1))
    area = g.Mul(width, height)
    either = g.Sub(g.Add(area, g.Transpose(area, perm=[0, 2, 1])), common)
    places = np.arange(count, dtype=np.int64)
    later = g.Less(places.reshape(-1, 1), places.reshape(1, -1))
    return g.Cast(g.And(g.Greater(g.Div(common, either), limit), later), to=FLOAT16)


def _settle(g: Rewriter, valid: str, pairs: str, count: int) -> str:
    """Write the candidates that stay, by the rule repeated until nothing changes."""
    zero = np.float16(0)

    def trip(_number: str, _goes_on: str, stays: str) -> tuple[str, str]:
        before = stays
        for _ in range(STEPS):
            free = g.Equal(g.MatMul(stays, pairs), zero)
            before, stays = stays, g.Cast(g.And(free, valid), to=FLOAT16)
        changes = g.ReduceMax(g.Abs(g.Sub(stays, before)), int64(0, 1, 2), keepdims=0)
        return g.Greater(changes, zero), stays

    body = g.graph(trip, 3)
    kinds = (INT64, BOOL, FLOAT16, BOOL, FLOAT16)
    for value, kind in zip((*body.input, *body.output), kinds, strict=True):
        value.type.tensor_type.elem_type = kind
        if kind != FLOAT16:
            value.type.tensor_type.shape.SetInParent()  # a scalar
    # A chain has at most all candidates, and one step more sees that nothing changes.
    trips = np.int64(count // STEPS + 1)
    return g.Loop(trips, np.bool_(True), g.Cast(valid, to=FLOAT16), body=body)
