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
FILTERS = (
    'convolution_param { kernel_size: 3 stride: 2 weight_filler { type: "gaussian" std: 0.5 } }'
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
    ('"DepthToSpace" depth_to_space_param { block_size: 2 }', (2, 3, 5, 12)),
    ('"ResizeBilinear" resize_bilinear_param { scale_width: 2 data_format: "NCHW" }', SHAPE),
    ('"Pooling" pooling_param { kernel_size: 2 pad_type: 1 }', SHAPE),
    ('"SeLu"', SHAPE),
    ('"Flip"', SHAPE),
    (f'"TreepoolMaxAve" {FILTERS}', SHAPE),
    (f'"TreepoolKernel1L" {FILTERS}', SHAPE),
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


PAIRS = [
    ('"FlowWarp"', (2, 3, 5, 7), (2, 2, 5, 7)),
    ('"SpatialTransformer" st_param { output_H: 4 output_W: 6 }', (2, 3, 5, 7), (2, 6)),
    ('"Correlation" correlation_param { pad: 2 kernel_size: 3 max_displacement: 2 }', SHAPE, SHAPE),
    (
        '"DeformableConvolution" deformable_convolution_param { num_output: 4 kernel_size: 3 '
        'pad: 1 deformable_group: 1 weight_filler { type: "gaussian" } }',
        (2, 3, 5, 7),
        (2, 18, 5, 7),
    ),
]


@pytest.mark.parametrize(("body", "first", "second"), PAIRS)
def test_pairs_as_numpy(body, first, second):
    net = make(one_layer(f"type: {body}", first, second))
    feeds = feed(net)
    values = net.run(feeds)
    (top,) = net.graph.outputs
    diff = np.random.default_rng(1).standard_normal(values[top.name].shape).astype(np.float32)
    check(net, feeds, values, {top.blob: diff})


def test_meanfield():
    fields = "num_iterations: 2 theta_alpha: 16 theta_beta: 30 theta_gamma: 3"
    scores, image = (1, 3, 5, 7), (1, 3, 5, 7)
    body = f'type: "MultiStageMeanfield" multi_stage_meanfield_param {{ {fields} }}'
    net = make(one_layer(body, scores, scores, image))
    feeds = feed(net)
    feeds["c"] *= 50
    values = net.run(feeds)
    diff = np.random.default_rng(1).standard_normal(scores).astype(np.float32)
    check(net, feeds, values, {"y": diff})


CENTERS = (
    '"CenternetDetectionOutput" detection_output_param '
    "{ num_classes: 3 confidence_threshold: 0.3 nms_thresh: 0.2 has_lm: true }"
)
GRID = (
    '"CenterGridOutput" detection_output_param { num_classes: 1 confidence_threshold: 0.6 '
    "bias_scale: 9 bias_scale: 12 bias_scale: 20 net_width: 40 net_height: 40 }"
)


@pytest.mark.parametrize(
    ("body", "shapes"),
    [(CENTERS, [(1, 14, 5, 6), (1, 2, 5, 6)]), (GRID, [(2, 5, n, n) for n in (8, 4, 2)])],
)
def test_detections_of_centres(body, shapes):
    net = make(one_layer(f"type: {body}", *shapes))
    feeds = feed(net)
    values = net.run(feeds)
    assert values["y"].shape[2] > 2
    check(net, feeds, values)


REGIONS = [[0, 17, 30, 95, 79], [1, -60, -28, 70, 50], [0, 88, 40, 260, 170]]


def test_mnc():
    """Values; numpy states the fork's own gradients, which the module takes."""
    warp = "roi_warping_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.0625 }"
    net = make(one_layer(f'type: "ROIWarping" {warp}', (2, 3, 7, 9), (3, 5)))
    feeds = {**feed(net), "b": np.array(REGIONS, np.float32)}
    values = net.run(feeds)
    diff = np.random.default_rng(1).standard_normal(values["y"].shape).astype(np.float32)
    check(net, feeds, values, {"y": diff})
    for body, *shapes in (
        ('"MaskPooling"', (2, 3, 4, 5), (2, 1, 4, 5)),
        ('"MaskResize" mask_resize_param { output_height: 7 output_width: 4 }', (2, 3, 5, 6)),
    ):
        net = make(one_layer(f"type: {body}", *shapes))
        feeds = feed(net)
        values = net.run(feeds)
        diff = np.random.default_rng(1).standard_normal(values["y"].shape).astype(np.float32)
        check(net, feeds, values, {"y": diff})


@pytest.mark.parametrize(
    ("body", "shape"),
    [(f'"Yolov3DetectionOutput" {YOLO}', (1, 8, 6, 10)), ('"CTCGreedyDecoder"', (11, 3, 4))],
)
def test_values_alone(body, shape):
    net = make(one_layer(f"type: {body}", shape))
    feeds = feed(net)
    check(net, feeds, net.run(feeds))
