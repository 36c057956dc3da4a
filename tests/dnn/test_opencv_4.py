"""Small nets beside what OpenCV 4.14 answered for them."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import dnn

from ..cases import assert_close

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
CONV = 'convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }'
POOL = (
    'layer { name: "p" type: "Pooling" bottom: "data" top: "y" '
    "pooling_param { kernel_size: 2 stride: 2 } }"
)


def read(text, **shapes):
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }\n"
        for name, shape in shapes.items()
    )
    return dnn.readNetFromCaffe((inputs + text).encode())


def test_a_convolution_is_named_by_its_top():
    net = read(
        f'layer {{ name: "r" type: "Convolution" bottom: "data" top: "x" {CONV}'
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }',
        data=IMAGE.shape,
    )
    assert net.getLayerNames() == ("x", "r_1")
    net.setInput(IMAGE)
    assert net.forward("x").min() < 0
    assert_close(net.forward(), np.maximum(net.forward("x"), 0))
    assert net.getLayer("x").blobs[0].shape == (2, 3, 3, 3)


def test_a_convolution_of_two_bottoms_is_two_layers():
    net = read(
        'layer { name: "l" type: "Convolution" bottom: "a" bottom: "b" top: "out_a" top: "out_b" '
        + CONV,
        a=IMAGE.shape,
        b=IMAGE.shape,
    )
    assert net.getLayerNames() == net.getUnconnectedOutLayersNames() == ("out_a", "out_b")
    net.setInput(IMAGE, "a")
    net.setInput(2 * IMAGE, "b")
    one, two = net.forward(["out_a", "out_b"])
    assert_close(two, 2 * one)
    ((first,), (second,)) = net.forwardAndRetrieve(["out_a", "out_b"])
    np.testing.assert_array_equal([first, second], [one, two])


def test_silence_is_a_layer_that_returns_its_bottom():
    net = read(POOL + 'layer { name: "s" type: "Silence" bottom: "y" }', data=IMAGE.shape)
    assert net.getLayerNames() == ("p", "s")
    assert net.getUnconnectedOutLayersNames() == ("s",)
    net.setInput(IMAGE)
    np.testing.assert_array_equal(net.forward(), net.forward("p"))


@pytest.mark.parametrize("name", ["", "data"])
def test_an_input_without_a_shape_takes_setinputs(name):
    net = dnn.readNetFromCaffe(f'layer {{ name: "i" type: "Input" top: "data" }}\n{POOL}'.encode())
    net.setInput(IMAGE, name)
    assert net.forward("p").shape == (1, 3, 4, 4)
    net.setInput(IMAGE[:, :, :6], name)
    assert net.forward().shape == (1, 3, 3, 4)


def test_an_output_has_two_axes_at_least():
    net = read(
        'layer { name: "f" type: "Flatten" bottom: "a" top: "y" flatten_param { axis: 0 } }',
        a=(2, 3),
    )
    net.setInput(np.arange(6).reshape(2, 3))
    assert net.forward().shape == (6, 1)


BOXES = np.array([0, 0, 0.5, 0.5, 0.4, 0.4, 1, 1, 0.1, 0.5, 0.3, 0.9], np.float32)
SCORES = np.array(
    [[0.1, 0.3, 0.6, 0.1, 0.5, 0.4, 0.1, 0.9, 0.25], [0.1, 0.1, 0.8, 0.2, 0.7, 0.1, 0.9, 0, 0]]
)
DETECTION = """layer { name: "found" type: "DetectionOutput" bottom: "l" bottom: "c" bottom: "p"
  top: "y" detection_output_param { num_classes: 3 share_location: true background_label_id: 0
  keep_top_k: 20 confidence_threshold: 0.2 nms_param { nms_threshold: 0.4 top_k: 9 }
  code_type: CENTER_SIZE %s } }"""


@pytest.mark.parametrize("encoded", [False, True])
def test_detections_come_by_falling_score_within_each_image(encoded):
    """With variances in the target, priors of one row, too."""
    text = DETECTION % ("variance_encoded_in_target: true" if encoded else "")
    net = read(text, l=(2, 12), c=(2, 9), p=(1, 2 - encoded, 12))
    net.setInput(np.zeros((2, 12)), "l")
    net.setInput(SCORES, "c")
    variances = np.tile([0.1, 0.1, 0.2, 0.2], 3)
    net.setInput(BOXES[None, None] if encoded else np.stack([BOXES, variances])[None], "p")
    rows = net.forward()
    assert rows.shape == (1, 1, 40, 7)
    want = [
        [0, 1, 0.9, 0.1, 0.5, 0.3, 0.9],
        [0, 2, 0.6, 0, 0, 0.5, 0.5],
        [0, 1, 0.5, 0.4, 0.4, 1, 1],
        [0, 2, 0.4, 0.4, 0.4, 1, 1],
        [0, 1, 0.3, 0, 0, 0.5, 0.5],
        [0, 2, 0.25, 0.1, 0.5, 0.3, 0.9],
        [1, 2, 0.8, 0, 0, 0.5, 0.5],
        [1, 1, 0.7, 0.4, 0.4, 1, 1],
    ]
    assert_close(rows[0, 0, :8], np.float32(want), 1e-6, axis=None)
    assert not rows[0, 0, 8:].any()


def test_proposal_is_opencvs_and_has_post_nms_topn_rows():
    net = read(
        """layer { name: "prop" type: "Proposal" bottom: "s" bottom: "b" bottom: "i" top: "rois"
          proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32 base_size: 16
          feat_stride: 16 pre_nms_topn: 6000 post_nms_topn: 300 nms_thresh: 0.7 min_size: 16 } }""",
        s=(1, 18, 3, 4),
        b=(1, 36, 3, 4),
        i=(1, 3),
    )
    random = np.random.RandomState(1)
    net.setInput(random.rand(1, 18, 3, 4).astype(np.float32), "s")
    net.setInput(random.randn(1, 36, 3, 4).astype(np.float32) * np.float32(0.1), "b")
    net.setInput(np.array([[48, 64, 1]]), "i")
    rows = net.forward()
    assert rows.shape == (300, 5)
    want = [[0, 0, 0, 63, 47], [0, 28.984, 0, 63, 47], [0, 0, 44.994, 63, 47]]
    assert_close(rows[:3], np.float32(want), 1e-4, axis=None)
    assert not rows[3:].any()
