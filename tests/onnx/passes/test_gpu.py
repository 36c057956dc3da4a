"""The pass for NVIDIA's GPUs: the same numbers, without the operators that leave the GPU."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

from caffe_compat.onnx.lowering import Lowered, lower, stamp
from caffe_compat.onnx.opsets import LOWERED
from caffe_compat.onnx.passes import gpu, simplify
from caffe_compat.runtime.placement import place

from ...cases import GOLDEN, feed, inline, load, make, one_layer, run_model

RECURRENT = sorted(
    path.name
    for path in (GOLDEN / "layers").iterdir()
    if path.name.startswith(("lstm", "rnn")) and "unit" not in path.name
)


@pytest.mark.parametrize("name", RECURRENT)
def test_loops_are_written_out(name):
    net, _ = load(GOLDEN / "layers" / name)
    lowered = gpu.fit(simplify(lower(net)))
    assert "Scan" not in {node.op_type for node in lowered.model.graph.node}
    feeds = feed(net)
    for top, array in run_model(inline(lowered), feeds).items():
        np.testing.assert_allclose(array, net.forward(feeds)[top], atol=1e-5)


@pytest.mark.parametrize("opset", [22, 23])
@pytest.mark.parametrize(
    ("body", "without"), [('type: "Pooling"', "MaxPool"), ('type: "ELU"', "Elu")]
)
def test_operators_without_later_kernels(opset, body, without, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("caffe_compat"), "propagate", True)
    fields = " pooling_param { kernel_size: 2 }" if without == "MaxPool" else ""
    net = make(one_layer(body + fields, (1, 2, 4, 4)))
    lowered = lower(net, opset)
    with caplog.at_level(logging.INFO, "caffe_compat"):
        fitted = gpu.fit(lowered)
    assert [record.getMessage() for record in caplog.records] == [
        f"written in opset 21, not {opset}, in which onnxruntime has no CUDA kernel for {without}"
    ]
    assert (fitted.model.opset_import[0].version, place(fitted).left) == (21, ())
    assert lowered.model.opset_import[0].version == opset
    onnx.checker.check_model(inline(fitted), full_check=True)
    relu = gpu.fit(lower(make(one_layer('type: "ReLU"', (1, 2))), opset))
    assert relu.model.opset_import[0].version == opset


def test_the_operators_are_those_of_the_table():
    """A new table may have the kernels."""
    model = lower(make(one_layer('type: "ReLU"', (1, 2)))).model
    lost = set()
    for schema in onnx.defs.get_all_schemas():
        if not schema.domain and not schema.deprecated:
            model.graph.node[0].op_type = schema.name
            kept, later = (_placed(model, opset) for opset in (gpu.LAST_OPSET, LOWERED[-1]))
            lost |= {schema.name} if kept and not later else set()
    assert lost == gpu.WITHOUT_LATER_KERNELS


def _placed(model, opset):
    """Whether a kernel fits the model's only node."""
    stamp(model, opset)
    return not place(Lowered(model, {})).left


def test_long_loops_and_varying_ones_stay():
    rnn = 'type: "RNN" recurrent_param { num_output: 2 weight_filler { type: "xavier" } }'
    for steps, scans in ((gpu.MOST_STEPS, 0), (gpu.MOST_STEPS + 1, 1)):
        net = make(one_layer(rnn, (steps, 1, 3), (steps, 1)))
        nodes = [node.op_type for node in gpu.fit(lower(net)).model.graph.node]
        assert nodes.count("Scan") == scans


@pytest.mark.parametrize("scale", [1, 0.3])
def test_regions_without_max_roi_pool(scale):
    """Regions inside, across and beyond the border, empty bins, halves that are rounded."""
    body = (
        f'type: "ROIPooling" roi_pooling_param {{ pooled_h: 3 pooled_w: 4 spatial_scale: {scale} }}'
    )
    net = make(one_layer(body, (2, 5, 13, 9), (40, 5)))
    rng = np.random.default_rng(3)
    rois = np.concatenate(
        [rng.integers(0, 2, (40, 1)), rng.integers(-8, 40, (40, 4)) / 2], axis=1
    ).astype(np.float32)
    feeds = {"a": rng.standard_normal((2, 5, 13, 9)).astype(np.float32), "b": rois}
    lowered = gpu.fit(simplify(lower(net)))
    assert "MaxRoiPool" not in {node.op_type for node in lowered.model.graph.node}
    np.testing.assert_array_equal(run_model(inline(lowered), feeds)["y"], net.forward(feeds)["y"])
