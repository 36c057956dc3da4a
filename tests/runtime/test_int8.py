"""The pass to 8-bit integers, and the layers that must not become one."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import load
from caffe_compat.errors import CaffeCompatError
from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime.calibration import calibrate
from caffe_compat.runtime.int8 import coordinate_layers, to_int8
from caffe_compat.runtime.session import Session

from ..cases import REPORTS, feed, graph_of


def test_weights_are_int8_per_channel_and_softmax_stays_float32(net):
    lowered, feeds = lower(net), [feed(net, seed) for seed in range(4)]
    small = to_int8(lowered, calibrate(lowered, feeds))
    weight = small.arrays["conv1/weight_quantized"]
    scale = small.arrays["conv1/weight_scale"]
    assert (weight.dtype, scale.shape) == (np.int8, (4,))
    np.testing.assert_allclose(
        weight * scale.reshape(4, 1, 1, 1), net.arrays[1][0], atol=scale.max() * 0.51
    )
    assert "fc_scale" in small.arrays
    assert "prob_scale" not in small.arrays
    session = Session(small, "cpu")
    for each in feeds:
        want = net.forward(each)["prob"]
        np.testing.assert_allclose(session.run(each)["prob"], want, atol=0.05 * want.max())


@pytest.mark.parametrize(("vnni", "most"), [(False, 64), (True, 127)])
def test_weights_have_7_bits_unless_the_cpu_sums_in_32(net, vnni, most):
    """Two products of 255 x 64 fit in the 16 bits of x86 without VNNI."""
    lowered = lower(net)
    small = to_int8(lowered, calibrate(lowered, [feed(net)]), vnni=vnni)
    weight = small.arrays["conv1/weight_quantized"].astype(int)
    assert np.abs(weight).max() == most
    assert (2 * 255 * most < 2**15) != vnni


def test_the_sums_of_report_39_are_right():
    net = load(REPORTS / "39_int8_vnni" / "net.prototxt")
    lowered = lower(net)
    feeds = {"data": np.full((1, 3, 32, 32), 200, np.float32)}
    want = net.forward(feeds)["c2"]
    outputs = Session(to_int8(lowered, calibrate(lowered, [feeds])), "cpu").run(feeds)["c2"]
    np.testing.assert_allclose(outputs, want, rtol=0.02)


def test_layers_of_choice_stay_float32(net):
    lowered = lower(net)
    ranges = calibrate(lowered, [feed(net)])
    small = to_int8(lowered, ranges, ["conv1"])
    assert small.arrays["conv1/weight"].dtype == np.float32
    assert "fc/weight_quantized" in small.arrays
    assert set(small.changed) == lowered.params.keys()


def test_the_scales_are_those_of_the_ranges(net):
    lowered, feeds = lower(net), feed(net)
    ranges = {**calibrate(lowered, [feeds]), "data": (-3.0, 2.1), "fc": (1.0, 5.1)}
    small = to_int8(lowered, ranges)
    assert small.arrays["data_scale"] == pytest.approx(5.1 / 255)
    assert small.arrays["data_zero_point"] == 150
    assert small.arrays["fc_scale"] == pytest.approx(5.1 / 255)  # a range always has the 0


def test_ranges_of_another_model_are_refused(net):
    with pytest.raises(CaffeCompatError, match="ranges has none of the model's tensors"):
        to_int8(lower(net), {"other": (0.0, 1.0)})


def test_layers_that_compute_with_coordinates():
    graph = graph_of(
        """
input: "x" input_shape { dim: 1 dim: 4 dim: 6 dim: 7 }
input: "info" input_shape { dim: 1 dim: 3 }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "loc" type: "Convolution" bottom: "x" top: "loc"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "find" type: "Proposal" bottom: "conv" bottom: "loc" bottom: "info" top: "rois"
  proposal_param { ratio: 1 scale: 8 } }
layer { name: "take" type: "ROIPooling" bottom: "x" bottom: "rois" top: "take"
  roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.0625 } }
layer { name: "fc" type: "InnerProduct" bottom: "take" top: "fc"
  inner_product_param { num_output: 5 } }
""",
        fork="pvanet",
    )
    assert coordinate_layers(graph) == {"find", "take"}
