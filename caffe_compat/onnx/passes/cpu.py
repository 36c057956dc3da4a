"""Says what onnxruntime's CPU is slow at in operators that it is fast at, when a session opens.

Measured with onnxruntime 1.31 (single thread, x86-64): PRelu behind a convolution takes 3 to 5
times as long as the forms below, LRN 8 times. Files keep the one operator, which GPUs and other
runtimes do well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_BLOCK = 16  # channels that the convolutions take at once; others leave the blocked layout
_MOST = 4096  # channels of a PRelu


def is_slow(model: onnx.ModelProto) -> bool:
    """Whether a model has an operator that there is a faster form of."""
    return any(node.op_type in _REWRITES for node in model.graph.node)


def tune(model: onnx.ModelProto, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put the faster forms in a model's graph; a float16 or quantised one stays as it is.

    Args:
        model: changed in place.
        arrays: the initializers that the model does not hold itself.
    """
    graph = model.graph
    held = {t.name: t.data_type for t in graph.initializer}
    kinds = {*held.values(), *(helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays.values())}
    if onnx.TensorProto.FLOAT16 in kinds or not is_slow(model):
        return
    small = {
        t.name: numpy_helper.to_array(t)
        for t in graph.initializer
        if not t.external_data and np.prod(t.dims) <= _MOST
    }
    tuning = _Tuning({**small, **arrays}, {out: n for n in graph.node for out in n.output})
    for node in graph.node:
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is None or node.domain or not rewrite(tuning, node):
            tuning.nodes.append(node)
    nodes = [*tuning.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in tuning.added.items())


class _Tuning:
    """The nodes so far.

    Args:
        arrays: the initializers known.
        makers: the node that makes each tensor.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], makers: Mapping[str, onnx.NodeProto]
    ) -> None:
        self.arrays, self.makers = arrays, makers
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, NDArray[Any]] = {}

    def begin(self, node: onnx.NodeProto) -> Callable[..., str]:
        """Something that adds nodes in a node's place: op, inputs, what it makes, attributes."""

        def add(op: str, *inputs: str | NDArray[Any], to: str = "", **attributes: Any) -> str:
            names = []
            for x in inputs:
                if not isinstance(x, str):
                    name = f"{node.output[0]}/tuned/constant{len(self.added)}"
                    self.added[name] = x
                    x = name
                names.append(x)
            made = to or f"{node.output[0]}/tuned/{len(self.nodes)}"
            name = node.name if to else f"{node.name}/tuned/{len(self.nodes)}"
            self.nodes.append(helper.make_node(op, names, [made], name, **attributes))
            return made

        return add


def _prelu(tuning: _Tuning, node: onnx.NodeProto) -> bool:
    """max(x, 0) + a min(x, 0), in the convolutions' blocked layout where it can stay in it."""
    x, slope = node.input
    a = tuning.arrays.get(slope)
    if a is None:
        return False
    add = tuning.begin(node)
    positive = add("Relu", x)
    maker = tuning.makers.get(x)
    blocked = maker is not None and maker.op_type == "Conv" and a.ndim == 3 and a.size == len(a)
    if blocked and len(a) % _BLOCK == 0:
        each = {"kernel_shape": [1, 1], "group": len(a)}
        minus = np.full((len(a), 1, 1, 1), -1, np.float32)
        negative = add("Relu", add("Conv", x, minus, **each))
        scaled = add("Conv", negative, np.asarray(-a.reshape(-1, 1, 1, 1)), **each)
    else:
        scaled = add("Mul", add("Min", x, np.zeros((), np.float32)), slope)
    add("Add", positive, scaled, to=node.output[0])
    return True


def _lrn(tuning: _Tuning, node: onnx.NodeProto) -> bool:
    """Divides x by (k + alpha mean(x^2))^beta: the mean by pooling, the power by roots."""
    p = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    size, beta, half = p["size"], p.get("beta", 0.75), p["size"] // 2
    if size % 2 == 0:
        return False
    (x,), add = node.input, tuning.begin(node)
    one = np.array([1], np.int64)
    mean = add(
        "AveragePool",
        add("Unsqueeze", add("Mul", x, x), one),
        count_include_pad=1,
        kernel_shape=[size, 1, 1],
        pads=[half, 0, 0] * 2,
    )
    scaled = add("Mul", add("Squeeze", mean, one), np.array(p.get("alpha", 1e-4), np.float32))
    norm = add("Add", scaled, np.array(p.get("bias", 1), np.float32))
    if beta == 0.75:
        root = add("Sqrt", norm)
        add("Div", x, add("Mul", root, add("Sqrt", root)), to=node.output[0])
    elif beta == 0.5:
        add("Div", x, add("Sqrt", norm), to=node.output[0])
    else:
        add("Mul", x, add("Pow", norm, np.array(-beta, np.float32)), to=node.output[0])
    return True


_REWRITES = {"PRelu": _prelu, "LRN": _lrn}
