"""The suppression of boxes by pairs: the boxes that Caffe and NonMaxSuppression leave."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from caffe_compat.onnx.passes import suppression
from caffe_compat.pipeline import lower
from caffe_compat.runtime.float16 import to_float16
from caffe_compat.runtime.placement import place

from ...cases import GOLDEN, assert_close, inline, load, make, run_model

DETECTIONS = sorted(
    path.name for path in (GOLDEN / "layers_ssd").iterdir() if path.name.startswith("detection")
)
NET = """
input: "loc" input_shape {{ dim: 2 dim: {numbers} }}
input: "conf" input_shape {{ dim: 2 dim: {scores} }}
input: "prior" input_shape {{ dim: 1 dim: 2 dim: {numbers} }}
layer {{ name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
  detection_output_param {{ num_classes: 3 code_type: CORNER nms_param {{ nms_threshold: {limit} }}
    confidence_threshold: 0.1 }} }}
"""


def operators(lowered):
    return {node.op_type for node in lowered.model.graph.node}


@pytest.mark.parametrize("name", DETECTIONS)
def test_caffes_numbers(name):
    net, io = load(GOLDEN / "layers_ssd" / name)
    lowered = lower(net, target="cuda")
    assert "Loop" in operators(lowered)
    assert "NonMaxSuppression" not in operators(lowered)
    assert place(lowered).left == ()
    onnx.checker.check_model(inline(lowered), full_check=True)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    for top, array in run_model(inline(lowered), feeds).items():
        assert_close(array, io[f"out:{top}"], 1e-6, top)


def boxes(rng, count, scale):
    """Feeds of boxes that overlap their neighbours in long chains."""
    start = np.sort(rng.uniform(0, scale * count / 10, count)).astype(np.float32)
    corners = np.stack([start, 0 * start, start + scale, 0 * start + scale], axis=1)
    prior = np.stack([corners, np.ones_like(corners)]).reshape(1, 2, -1)
    return {
        "loc": np.zeros((2, 4 * count), np.float32),
        "conf": rng.permuted(np.linspace(0, 1, 6 * count, dtype=np.float32)).reshape(2, -1),
        "prior": prior,
    }


@pytest.mark.parametrize("limit", [0, 0.2, 0.45, 0.9])
@pytest.mark.parametrize("count", [1, 7, 150])
def test_long_chains(count, limit):
    net = make(NET.format(numbers=4 * count, scores=3 * count, limit=limit))
    feeds = boxes(np.random.default_rng(count), count, 1)
    lowered = lower(net, target="cuda")
    assert "Loop" in operators(lowered)
    want = net.forward(feeds)["out"]
    np.testing.assert_array_equal(run_model(inline(lowered), feeds)["out"], want)


def test_a_chain_of_all_candidates():
    """Each overlaps the next alone, so that whether the last stays is known at the last step."""
    count = 101
    net = make(NET.format(numbers=4 * count, scores=3 * count, limit=0.3))
    feeds = boxes(np.random.default_rng(0), count, 1)
    start = 0.5 * np.arange(count, dtype=np.float32)
    corners = np.stack([start, 0 * start, start + 1, 0 * start + 1], axis=1)
    feeds["prior"][0, 0] = corners.reshape(-1)
    falling = np.linspace(0.9, 0.2, count, dtype=np.float32)
    feeds["conf"] = np.repeat(falling, 3).reshape(1, -1).repeat(2, 0)
    output = run_model(inline(lower(net, target="cuda")), feeds)["out"]
    np.testing.assert_array_equal(output, net.forward(feeds)["out"])
    assert output.shape[2] == 4 * (count // 2 + 1)  # every second, of two labels and two images


def test_pixels_in_float16():
    """Areas of above 65504 pixels, float16's largest number, are computed in float32."""
    net = make(NET.format(numbers=40, scores=30, limit=0.5))
    feeds = boxes(np.random.default_rng(1), 10, 512)
    lowered = lower(net, target="cuda", passes=(to_float16,))
    assert "Loop" in operators(lowered)
    output, want = run_model(inline(lowered), feeds)["out"], net.forward(feeds)["out"]
    assert output.shape == want.shape
    assert_close(np.sort(output, 2), np.sort(want, 2), 1e-3, axis=-1)


@pytest.mark.parametrize("change", ["too many pairs", "an open axis"])
def test_other_nets_keep_the_operator(change, monkeypatch):
    net = make(NET.format(numbers=40, scores=30, limit=0.5))
    if change == "too many pairs":
        monkeypatch.setattr(suppression, "MOST_PAIRS", 399)
    else:
        text = NET.format(numbers=40, scores=30, limit=0.5)
        net = make(text, inputs={"loc": (None, 40), "conf": (None, 30)})
    lowered = lower(net, target="cuda")
    assert "NonMaxSuppression" in operators(lowered)
    feeds = boxes(np.random.default_rng(2), 10, 1)
    want = net.forward(feeds)["out"]
    np.testing.assert_array_equal(run_model(inline(lowered), feeds)["out"], want)
