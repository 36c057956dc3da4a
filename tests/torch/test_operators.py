"""Each operator beside ONNX's own node tests."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from caffe_compat.errors import UnsupportedError
from caffe_compat.torch.operators import OPERATORS, SIZES
from caffe_compat.torch.writer import Writer

# The types of Caffe's numbers, and of what lowerings make of them.
DTYPES = {np.dtype(name) for name in ("bool", "int32", "int64", "float32", "float64")}
# Cases of what no lowering writes, beside attributes that the functions do not take.
OUTSIDE = {
    "test_constantofshape_int_shape_zero": "int32",
    "test_constantofshape_int_zeros": "int32",
    "test_cumsum_2d_int32": "a sum of int32",
    "test_div_int32_trunc": "a division of integers, which are sizes and Python's",
    "test_gather_elements_negative_indices": "an index from the end",
    "test_gemm_default_scalar_bias": "a bias of one number",
    "test_identity_opt": "an optional",
    "test_identity_sequence": "a sequence",
    "test_pow_types_int32_float32": "a power of integers",
    "test_pow_types_int64_float32": "a power of integers",
    "test_range_int32_type_negative_delta": "a range of int32",
    "test_reduce_max_empty_set": "the maximum of nothing",
    "test_reduce_max_empty_set_bool": "the maximum of nothing",
    "test_reduce_min_empty_set": "the minimum of nothing",
    "test_scan_sum": "opset 8",
    "test_scatter_elements_with_negative_indices": "an index from the end",
    "test_split_equal_parts_1d_opset13": "opset 13",
    "test_split_equal_parts_2d_opset13": "opset 13",
    "test_split_equal_parts_default_axis_opset13": "opset 13",
    "test_transpose_default": "axes in reverse",
}
# Operators of which ONNX has no case in the form that lowerings write.
NO_CASE = {"MaxRoiPool", "Resize"}


def _array(part):
    return np.array(numpy_helper.to_array(part) if isinstance(part, TensorProto) else part)


def _arrays(case):
    return [_array(part) for sets in case.data_sets for side in sets for part in side]


def _cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX makes its cases, overflows included
        every = load_model_tests(kind="node")
    for case in every:
        nodes = case.model.graph.node
        alone = len(nodes) == 1 and nodes[0].domain == "" and case.name not in OUTSIDE
        known = alone and nodes[0].op_type in {*OPERATORS, "Scan"}
        if known and all(array.dtype in DTYPES for array in _arrays(case)):
            yield case


CASES = list(_cases())


def run(case, inputs):
    """The outputs of a case's node, its sizes and lone numbers as constants."""
    (node,) = case.model.graph.node
    writer, arguments = Writer(), []
    for i, (info, array) in enumerate(zip(case.model.graph.input, inputs, strict=True)):
        places = {place for place, name in enumerate(node.input) if name == info.name}
        if array.ndim == 0 or places & set(SIZES.get(node.op_type, ())):
            writer.values[info.name] = array
        else:
            writer.input(info.name, f"x{i}")
            arguments.append(torch.from_numpy(array))
    writer.add(node)
    outputs = writer.module([name for name in node.output if name], "Case")(*arguments)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _is_ours(case):
    """Whether the node's attributes are such as lowerings write."""
    try:
        run(case, [_array(part) for part in case.data_sets[0][0]])
    except UnsupportedError:
        return False
    return True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node(case):
    for inputs, wanted in case.data_sets:
        inputs = [_array(part) for part in inputs]
        try:
            outputs = run(case, inputs)
        except UnsupportedError as error:
            assert "has no torch form" in str(error) or "computed from data" in str(error)
            return
        for output, want in zip(outputs, wanted, strict=True):
            want = _array(want)
            assert output.numpy().dtype == want.dtype
            np.testing.assert_allclose(output.numpy(), want, rtol=case.rtol, atol=case.atol)


def test_every_operator_has_a_case():
    judged = {case.model.graph.node[0].op_type for case in CASES if _is_ours(case)}
    assert judged == {*OPERATORS, "Scan"} - NO_CASE
