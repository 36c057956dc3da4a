"""Layers and fields of forks as torch modules, beside numpy: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from ..cases import feed, make, one_layer
from .agreement import check

SHAPE = (2, 3, 7, 9)
NORM = (
    "batch_norm_param { scale_bias: true "
    'scale_filler { type: "gaussian" } bias_filler { type: "gaussian" } }'
)
YOLO = (
    "yolov3_detection_output_param { num_classes: 3 num_box: 1 confidence_threshold: 0.3 "
    "biases: 20 biases: 37 mask: 0 mask_group_num: 1 anchors_scale: 32 }"
)
CASES = [
    ('"Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad_l: 1 pad_b: 2 }', SHAPE),
    ('"Pooling" pooling_param { pool: AVE_EXC_PAD kernel_size: 3 pad: 1 stride: 2 }', SHAPE),
    ('"Pooling" pooling_param { kernel_size: 3 stride: 2 pad_r: 1 ceil_mode: false }', SHAPE),
    ('"ReLU" relu_param { relu6: true }', SHAPE),
    ('"Dropout" dropout_param { scale_train: false }', SHAPE),
    (f'"BatchNorm" {NORM}', SHAPE),
    ('"BatchNorm" batch_norm_param { add_eps_before_sqrt: false }', SHAPE),
    ('"Reshape" reshape_param { pixelshuffler: 3 }', (2, 18, 5, 4)),
    ('"DepthToSpace" depth_to_space_param { block_size: 2 data_format: "DCR" }', (2, 12, 3, 5)),
    ('"ResizeBilinear" resize_bilinear_param { scale_width: 2 data_format: "NCHW" }', SHAPE),
    ('"Lstm" lstm_param { num_output: 4 weight_filler { type: "gaussian" } }', (5, 3, 7)),
]


@pytest.mark.parametrize(("body", "shape"), CASES)
def test_as_numpy(body, shape):
    net = make(one_layer(f"type: {body}", shape))
    feeds = feed(net)
    values = net.run(feeds)
    (top,) = net.graph.outputs
    diff = np.random.default_rng(1).standard_normal(values[top.name].shape).astype(np.float32)
    check(net, feeds, values, {top.blob: diff})


@pytest.mark.parametrize(
    ("body", "shape"),
    [(f'"Yolov3DetectionOutput" {YOLO}', (1, 8, 6, 10)), ('"CTCGreedyDecoder"', (11, 3, 4))],
)
def test_values_alone(body, shape):
    net = make(one_layer(f"type: {body}", shape))
    feeds = feed(net)
    check(net, feeds, net.run(feeds))
