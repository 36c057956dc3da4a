"""The pass for TensorRT: the same numbers, in operators that its parser takes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from caffe_compat.errors import UnsupportedError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify, targets
from caffe_compat.runtime.placement import place

from ...cases import GOLDEN, feed, inline, load, make, one_layer, run_model


@pytest.mark.parametrize("name", ["pool_max_mask_0", "pool_max_mask_1"])
def test_masks_without_indices(name):
    net, recorded = load(GOLDEN / "layers" / name)
    lowered = targets.fit(simplify(lower(net)), net, "tensorrt")
    assert all(len(node.output) == 1 for node in lowered.model.graph.node)
    assert place(lowered).left == ()
    feeds = {value.blob: recorded[f"in:{value.blob}"] for value in net.graph.inputs}
    for top, array in run_model(inline(lowered), feeds).items():
        np.testing.assert_allclose(array, recorded[f"out:{top}"], rtol=1e-5)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (GOLDEN / "layers_ssd").glob("detection_*"))
)
def test_detections_without_bool_scatters(name):
    net, recorded = load(GOLDEN / "layers_ssd" / name)
    model = inline(targets.fit(simplify(lower(net)), net, "tensorrt"))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    kinds |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for node in model.graph.node:
        if node.op_type in ("NonZero", "ScatterElements", "ScatterND"):
            assert kinds[node.input[0]] == onnx.TensorProto.FLOAT, node.name
    feeds = {value.blob: recorded[f"in:{value.blob}"] for value in net.graph.inputs}
    for top, array in run_model(model, feeds).items():
        np.testing.assert_allclose(array, recorded[f"out:{top}"], atol=1e-5)


def test_filters_are_refused_by_name():
    net = make(one_layer('type: "Filter"', (4, 3), (4, 1)))
    with pytest.raises(
        UnsupportedError,
        match=r"^layer 'l' \(Filter\): TensorRT has no Compress, whose number of rows depends on "
        r"the data; target='cuda' computes it$",
    ):
        targets.fit(simplify(lower(net)), net, "tensorrt")
    lowered = targets.fit(simplify(lower(net)), net, "cuda")
    feeds = feed(net)
    want = net.forward(feeds)
    for top, array in run_model(inline(lowered), feeds).items():
        np.testing.assert_array_equal(array, want[top])
