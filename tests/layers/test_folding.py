"""ONNX nodes in numpy beside onnxruntime's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from caffe_compat.layers.folding import FOLDS, evaluate

from ..cases import run_model

F = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
I64 = np.array([3, -1, 5], np.int64)
CASES = [
    ("Add", [F, F[:1]], {}, 1),
    ("Sub", [I64, I64[::-1].copy()], {}, 1),
    ("Mul", [F, np.float32(0.1)], {}, 1),
    ("Cast", [F + 0.5], {"to": onnx.TensorProto.INT64}, 1),
    ("Cast", [F], {"to": onnx.TensorProto.DOUBLE}, 1),
    ("Cast", [I64], {"to": onnx.TensorProto.FLOAT}, 1),
    ("Cast", [F > 0], {"to": onnx.TensorProto.FLOAT}, 1),
    ("Concat", [F, F[:, :1]], {"axis": 1}, 1),
    ("Concat", [F, F], {"axis": -1}, 1),
    ("ConstantOfShape", [np.array([2, 3], np.int64)], {}, 1),
    (
        "ConstantOfShape",
        [np.array([2, 3], np.int64)],
        {"value": onnx.numpy_helper.from_array(np.array([7], np.int64))},
        1,
    ),
    ("Div", [F, np.float32(0.3)], {}, 1),
    ("Equal", [F, F[:1]], {}, 1),
    ("Flatten", [F], {}, 1),
    ("Flatten", [F], {"axis": 0}, 1),
    ("Flatten", [F], {"axis": 2}, 1),
    ("Floor", [F / 3], {}, 1),
    ("Max", [F, F[:1], np.float32(2)], {}, 1),
    ("Min", [F, -F], {}, 1),
    ("Reshape", [F, np.array([0, -1], np.int64)], {}, 1),
    ("Reshape", [F, np.array([4, 6], np.int64)], {}, 1),
    ("Split", [F], {"num_outputs": 2, "axis": 1}, 2),
    ("Split", [F], {"num_outputs": 2, "axis": -1}, 2),
    ("Split", [F, np.array([1, 3], np.int64)], {"axis": 2}, 2),
    ("Transpose", [F], {"perm": [2, 0, 1]}, 1),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "outputs"), CASES)
def test_onnxruntime_agrees(op, inputs, attributes, outputs):
    names, tops = [f"x{i}" for i in range(len(inputs))], [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, tops, **attributes)
    dtype = helper.np_dtype_to_tensor_dtype
    made = evaluate(node, inputs)
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(name, dtype(np.asarray(x).dtype), np.shape(x))
            for name, x in zip(names, inputs, strict=True)
        ],
        [
            helper.make_tensor_value_info(name, dtype(y.dtype), None)
            for name, y in zip(tops, made, strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    want = run_model(model, {n: np.asarray(x) for n, x in zip(names, inputs, strict=True)})
    for name, array in zip(tops, made, strict=True):
        np.testing.assert_array_equal(array, want[name], strict=True)


def test_every_operator_is_tested():
    assert {op for op, *_ in CASES} == set(FOLDS)


def test_what_is_not_known():
    assert evaluate(helper.make_node("Add", ["a", "b"], ["c"]), [F]) is None
    cast = helper.make_node("Cast", ["a"], ["c"], to=onnx.TensorProto.INT64)
    for value in (np.nan, np.inf, 1e12):
        assert evaluate(cast, [np.full(1, value, np.float32)]) is None
    divide = helper.make_node("Div", ["a", "b"], ["c"])
    assert evaluate(divide, [I64, np.array([2, 2, 2])]) is None
    assert evaluate(divide, [F, np.float32([0])]) is None
    assert evaluate(helper.make_node("Max", ["a", "b"], ["c"]), [F, F * np.nan]) is None
    assert evaluate(helper.make_node("Exp", ["a"], ["c"]), [F]) is None
