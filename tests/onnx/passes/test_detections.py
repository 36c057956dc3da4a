"""Default boxes that all have the same variances keep one row of them."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes.constants import fold_constants
from caffe_compat.onnx.passes.detections import shrink_variances

from ...cases import assert_close, feed, inline, make, run_model

NET = """
layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: 2 dim: %d } } }
layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: 2 dim: 144 } } }
layer { name: "f" type: "Input" top: "f" input_param { shape { dim: 2 dim: 1 dim: 4 dim: 6 } } }
layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 2 dim: 3 dim: 50 dim: 90 } } }
layer { name: "p" type: "PriorBox" bottom: "f" bottom: "d" top: "p"
        prior_box_param { min_size: 20 aspect_ratio: 2 flip: false %s } }
layer { name: "y" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "p" top: "y"
        detection_output_param { num_classes: 3 code_type: CENTER_SIZE %s
                                 nms_param { nms_threshold: 0.4 } } }"""
BOXES = 48


def variances(lowered):
    """The shapes of the constants that predictions are multiplied by first."""
    nodes = list(lowered.model.graph.node)
    (split,) = [node for node in nodes if node.op_type == "Split" and len(node.output) == 2]
    (mul,) = [node for node in nodes if split.input[0] in node.output]
    return lowered.arrays[mul.input[1]].shape


@pytest.mark.parametrize("four", ["", "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.3"])
@pytest.mark.parametrize(
    ("numbers", "how"),
    [
        (4 * BOXES, ""),
        (4 * BOXES, "background_label_id: 2"),
        (12 * BOXES, "share_location: false"),
        (12 * BOXES, "share_location: false background_label_id: 5"),
    ],
)
def test_one_row_for_all_boxes(numbers, how, four):
    net = make(NET % (numbers, four, how))
    folded = fold_constants(lower(net))
    assert variances(folded) == (1, BOXES, 4)
    shrunk = shrink_variances(folded)
    assert variances(shrunk) == (4,)
    feeds = feed(net)
    want = run_model(inline(folded), feeds)["y"]
    np.testing.assert_array_equal(run_model(inline(shrunk), feeds)["y"], want)
    assert_close(want, net.forward(feeds)["y"])


def test_other_products_stay():
    """A factor of equal rows that the other operand is repeated along must keep its shape."""
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
        layer { name: "y" type: "Scale" bottom: "x" top: "y" scale_param { axis: 0 num_axes: -1 } }""")  # noqa: E501
    lowered = lower(net)
    assert shrink_variances(lowered).model.graph.node == lowered.model.graph.node


def test_variances_that_are_encoded_in_the_predictions():
    net = make(NET % (4 * BOXES, "", "variance_encoded_in_target: true"))
    folded = fold_constants(lower(net))
    assert shrink_variances(folded).model.graph.node == folded.model.graph.node
