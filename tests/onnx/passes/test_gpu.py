"""The pass for NVIDIA's GPUs: the same numbers, without the operators that leave the GPU."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import gpu, simplify

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
