"""DetectionCcpdOutput."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import make, run_onnx


def net_of(param="num_chinese: 5 num_english: 4 num_letter: 6", classes=(5, 4, *[6] * 5)):
    inputs = "".join(
        f'layer {{ name: "{i}" type: "Input" top: "x{i}" input_param {{ shape {{ dim: 3 dim: {n} '
        "} } }\n"
        for i, n in enumerate(classes)
    )
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(classes)))
    return make(
        f'{inputs} layer {{ name: "l" type: "DetectionCcpdOutput" {bottoms} top: "y" '
        f"lp_det_param {{ {param} }} }}"
    )


def test_the_first_largest_score_above_0():
    net = net_of()
    rng = np.random.default_rng(5)
    feeds = {v.blob: rng.standard_normal(v.shape).astype(np.float32) for v in net.graph.inputs}
    feeds["x0"][0] = -1  # none above 0
    feeds["x1"][1] = [0, 2, 2, 1]  # the first of two
    want = np.zeros((3, 7))
    for image in range(3):
        for i in range(7):
            largest = 0.0
            for label, score in enumerate(feeds[f"x{i}"][image]):
                if largest < score:
                    largest, want[image, i] = score, label
    assert (want[0, 0], want[1, 1]) == (0, 1)
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert np.array_equal(outputs["y"], want[None, None])


def test_refused():
    with pytest.raises(ShapeError, match="must specify num_letter"):
        net_of("num_chinese: 5 num_english: 4")
    with pytest.raises(ShapeError, match="scores of 4 classes"):
        net_of(classes=(5, 5, *[6] * 5))
