"""YOLO's detections, beside the fork's description by loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, feed, make, one_layer, run_onnx

V3 = (
    'type: "Yolov3DetectionOutput" yolov3_detection_output_param {{ num_classes: 3 num_box: 2 '
    "biases: 20 biases: 37 biases: 49 biases: 94 biases: 73 biases: 201 biases: 143 biases: 265 "
    "mask: 2 mask: 3 mask: 0 mask: 1 mask_group_num: 2 anchors_scale: 32 anchors_scale: 16 {} }}"
)
V3_SQUARE = V3.replace("Yolov3DetectionOutput", "Yolov3Detection")
V2 = (
    'type: "YoloDetectionOutput" yolo_detection_output_param {{ num_classes: 4 num_box: 2 '
    "biases: 1.08 biases: 1.19 biases: 3.42 biases: 4.41 {} }}"
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def overlap(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    common = sides[0] * sides[1] if min(sides) > 0 else 0
    return common / (sum(areas) - common)


def by_loops(x, p, version):
    """The fork's boxes one by one, as its description has them."""
    found, classes = [], p.num_classes
    for index, image in enumerate(x):
        height, width = image.shape[2:]
        for row, column in np.ndindex(height, width):
            for n in range(p.num_box):
                first = n * (5 + classes)
                numbers = image[0, first : first + 5 + classes, row, column].astype(np.float64)
                anchor, scale = n, 1
                if version == 3:
                    anchor, scale = p.mask[2 * index + n], p.anchors_scale[index]
                middle = np.add(sigmoid(numbers[:2]), (column, row)) / (width, height)
                size = np.exp(numbers[2:4]) * p.biases[2 * anchor : 2 * anchor + 2]
                size = size / (scale * width, scale * height)
                box = [*(middle - size / 2), *(middle + size / 2)]
                each = sigmoid(numbers[5:])
                if version == 2:
                    each = np.exp(numbers[5:]) / np.exp(numbers[5:]).sum()
                for label, share in enumerate(each):
                    score = share * sigmoid(numbers[4])
                    enough = score > p.confidence_threshold
                    if enough and (version == 3 or label == np.argmax(each)):
                        found.append([0, label + 1, score, *box])
    rows = []
    for one in sorted(found, key=lambda row: -row[2]):
        if all(overlap(one[3:], other[3:]) < p.nms_threshold for other in rows):
            rows.append(one)
    return np.array(rows, np.float32).reshape(1, 1, -1, 7)


@pytest.mark.parametrize(
    ("body", "shapes", "version"),
    [
        (V3.format("confidence_threshold: 0.3"), [(1, 16, 3, 5), (1, 16, 6, 10)], 3),
        (V3.format("nms_threshold: 0.2"), [(1, 16, 3, 5), (1, 16, 6, 10)], 3),
        (
            V3_SQUARE.format("confidence_threshold: 0.3 nms_threshold: 0.45"),
            [(1, 16, 4, 4), (1, 16, 8, 8)],
            3,
        ),
        (V2.format("confidence_threshold: 0.2"), [(1, 18, 5, 5)], 2),
        (V2.format("nms_threshold: 0.3"), [(1, 18, 5, 5), (1, 18, 7, 7)], 2),
    ],
)
def test_detections_by_loops(body, shapes, version):
    net = make(one_layer(body, *shapes))
    feeds = feed(net)
    want = by_loops(list(feeds.values()), net.graph.nodes[-1].layer.p, version)
    assert want.shape[2] > 4
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"], want, 1e-4, axis=3)


@pytest.mark.parametrize(
    "body", [V2.format("confidence_threshold: 1"), V2.format("confidence_threshold: 0.99")]
)
def test_no_detection(body):
    net = make(one_layer(body, (1, 18, 5, 5)))
    feeds = feed(net)
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert outputs["y"].tolist() == [[[[0, -1, -1, -1, -1, -1, -1]]]]


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        (V3.format(""), [(1, 16, 3, 5)], ShapeError, "1 maps, mask_group_num 2"),
        (V3.format(""), [(1, 15, 3, 5), (1, 16, 6, 10)], ShapeError, "16 channels"),
        (
            V3.format("gaussian_box: true"),
            [(1, 16, 3, 5), (1, 16, 6, 10)],
            UnsupportedError,
            "gauss",
        ),
        (V3.format(""), [(2, 16, 3, 5), (2, 16, 6, 10)], UnsupportedError, "several images"),
        (V3_SQUARE.format(""), [(1, 16, 3, 5), (1, 16, 6, 10)], UnsupportedError, "square"),
        (V2.format(""), [(1, 18, 5, 4)], UnsupportedError, "square"),
        (V2.format("coords: 5"), [(1, 18, 5, 5)], UnsupportedError, "coords"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes))
