"""Replace operators that onnxruntime's CPU computes slowly or inexactly.

Measured with onnxruntime 1.31 (single thread, x86-64): PRelu behind a convolution takes 3 to 5
times as long as the forms below, LRN 8 times. Sigmoid is 0.56 % off at -12 and 0 below -18; its
form below is within 1.5e-7 everywhere, and takes 1.7 times as long (0.4 ns a value). Files keep the
operator itself, which GPUs and other runtimes compute well; a session on the CPU rewrites it when
it opens.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from ...layers.builder import int64
from ..lowering import Lowered
from ..rewriting import Rewriter, Rule, attributes, rewrite

_BLOCK = 16  # channels in a block of the convolutions' layout; other numbers leave it
_OPSET = 13  # the first that takes Unsqueeze's axes as an input


def is_slow(model: onnx.ModelProto) -> bool:
    """Return whether a model has an operator with a better equivalent."""
    return any(node.op_type in _RULES for node in model.graph.node)


def tune(lowered: Lowered) -> Lowered:
    """Return the model with better equivalents; one with float16 stays as it is."""
    opsets = lowered.model.opset_import
    old = any(not imported.domain and imported.version < _OPSET for imported in opsets)
    if old or not is_slow(lowered.model) or onnx.TensorProto.FLOAT16 in _types(lowered):
        return lowered
    return rewrite(lowered, _RULES)


def _types(lowered: Lowered) -> set[int]:
    """Return the types that a model names: of its weights, its inputs and its casts."""
    graph = lowered.model.graph
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {helper.np_dtype_to_tensor_dtype(array.dtype) for array in lowered.arrays.values()}
    types |= {value.type.tensor_type.elem_type for value in graph.input}
    return types | {attributes(node)["to"] for node in graph.node if node.op_type == "Cast"}


def _prelu(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Write max(x, 0) + a min(x, 0), in the convolutions' blocked layout where x is in it."""
    x, slope = node.input
    a, producer = g.initializer(slope), g.producer(x)
    if a is None:
        return None
    channels = len(a) if a.ndim == 3 and a.size == len(a) else 0
    behind = producer is not None and producer.op_type == "Conv"
    positive = g.Relu(x)
    if not behind or not channels or channels % _BLOCK:
        return g.Add(positive, g.Mul(g.Min(x, np.float32(0)), slope))
    minus, rates = np.full((channels, 1, 1, 1), -1, np.float32), -a.reshape(-1, 1, 1, 1)
    negative = g.Relu(g.Conv(x, minus, kernel_shape=[1, 1], group=channels))
    return g.Add(positive, g.Conv(negative, rates, kernel_shape=[1, 1], group=channels))


def _lrn(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Write x / (k + alpha mean(x^2))^beta: the mean by pooling, the power by roots."""
    p, x = attributes(node), node.input[0]
    size, beta, half = p["size"], p.get("beta", 0.75), p["size"] // 2
    if size % 2 == 0:
        return None
    mean = g.AveragePool(
        g.Unsqueeze(g.Mul(x, x), int64(1)),
        count_include_pad=1,
        kernel_shape=[size, 1, 1],
        pads=[half, 0, 0] * 2,
    )
    scaled = g.Mul(g.Squeeze(mean, int64(1)), np.float32(p.get("alpha", 1e-4)))
    norm = g.Add(scaled, np.float32(p.get("bias", 1)))
    if beta == 0.75:
        root = g.Sqrt(norm)
        return g.Div(x, g.Mul(root, g.Sqrt(root)))
    if beta == 0.5:
        return g.Div(x, g.Sqrt(norm))
    return g.Mul(x, g.Pow(norm, np.float32(-beta)))


def _sigmoid(g: Rewriter, node: onnx.NodeProto) -> str:
    """Write 1 / (1 + exp(-x)), each operator of which is exact."""
    return g.Reciprocal(g.Add(g.Exp(g.Neg(node.input[0])), np.float32(1)))


_RULES: dict[str, Rule] = {"PRelu": _prelu, "LRN": _lrn, "Sigmoid": _sigmoid}
