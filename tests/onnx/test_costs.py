"""Costs beside published counts, and each rule on a net of one layer."""

from __future__ import annotations

import pytest

import caffe_compat
from caffe_compat.onnx.costs import costs
from caffe_compat.onnx.counting import Field

from ..cases import GOLDEN, graph_of, one_layer

NETS = GOLDEN / "nets"
# Multiply-adds in millions and parameters in millions, as published:
# - CaffeNet, GoogLeNet, VGG-16: the presets of Netscope CNN Analyzer (dgschwend/netscope);
#   VGG-16 has 138 M parameters also in Simonyan and Zisserman 2015, table 2 (configuration D).
# - SqueezeNet v1.0: a preset of the same; Iandola et al. 2016, table 1: 1.25 M parameters.
# - ResNet-50: He et al. 2016, table 1: 3.8 billion.
PUBLISHED = {
    "BVLC_caffe_models_bvlc_reference_caffenet_deploy": (724.41, 60.97),
    "DeepScale_SqueezeNet_SqueezeNet_v1_0_deploy": (861.34, 1.25),
    "BVLC_caffe_models_bvlc_googlenet_deploy": (1582.67, 7.00),
    "KaimingHe_deep_residual_networks_prototxt_ResNet_50_deploy": (3857.97, 25.61),
    "PaddlePaddle_X2Paddle_test_benchmark_Caffe_VGG16_vgg16": (15470.26, 138.36),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    total = costs(caffe_compat.read(NETS / name / "net.prototxt"))
    adds, parameters = PUBLISHED[name]
    assert total.total("multiply_adds") / 1e6 == pytest.approx(adds, abs=0.005)
    assert total.total("parameters") / 1e6 == pytest.approx(parameters, abs=0.005)
    assert not [cost.layer for cost in total.layers if cost.note]


def cost(body, *shapes):
    total = costs(graph_of(one_layer(body, *shapes)))
    return next(each for each in total.layers if each.type != "Input")


def test_convolution_counts_weights_times_positions():
    one = cost(
        'type: "Convolution" convolution_param { num_output: 6 group: 2 kernel_size: 3 stride: 2 }',
        (5, 4, 9, 11),
    )
    weights, positions = 6 * 2 * 3 * 3, 4 * 5
    assert one.multiply_adds == weights * positions
    assert one.parameters == weights + 6
    assert one.activations == 4 * 6 * positions
    assert one.moved == 4 * (4 * 9 * 11 + 6 * positions + weights + 6)
    assert one.field == Field((3, 3), (2, 2))


def test_deconvolution_counts_positions_of_its_bottom():
    one = cost(
        'type: "Deconvolution" convolution_param { num_output: 2 kernel_size: 4 stride: 2 }',
        (3, 5, 7, 6),
    )
    assert one.multiply_adds == (5 * 2 * 4 * 4) * (7 * 6)
    assert one.field == Field((2, 2), (0.5, 0.5))


def test_inner_product_sees_all_of_the_image():
    one = cost('type: "InnerProduct" inner_product_param { num_output: 9 }', (2, 3, 4, 5))
    assert one.multiply_adds == 9 * 3 * 4 * 5
    assert one.field is None


def test_pooling_and_lrn_are_other_operations():
    pool = cost('type: "Pooling" pooling_param { kernel_size: 3 stride: 2 }', (1, 2, 7, 9))
    assert (pool.multiply_adds, pool.operations) == (0, 9 * 2 * 3 * 4)
    lrn = cost('type: "LRN" lrn_param { local_size: 3 }', (1, 4, 2, 5))
    assert lrn.operations == (3 + 2) * 4 * 2 * 5


def test_recurrent_layers_count_every_step():
    text = (
        'layer { name: "d" type: "Input" top: "x" top: "c"'
        " input_param { shape { dim: [7, 1, 5] } shape { dim: [7, 1] } } }"
        'layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "y"'
        ' recurrent_param { num_output: 3 weight_filler { type: "xavier" } } }'
    )
    one = costs(graph_of(text)).layers[-1]
    assert one.multiply_adds == 7 * (4 * 3 * 5 + 4 * 3 * 3)


def test_a_layer_without_an_onnx_form_has_a_note():
    total = costs(
        graph_of(
            'layer { name: "d" type: "Input" top: "x" input_param { shape { dim: [2, 3, 8, 8] } } }'
            'layer { name: "s" type: "Pooling" bottom: "x" top: "y"'
            " pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 } }",
            phase="TRAIN",
        )
    )
    assert "STOCHASTIC" in total.layers[-1].note
    assert total.layers[-1].multiply_adds == 0


def test_the_batch_does_not_count():
    name = "BVLC_caffe_models_bvlc_reference_caffenet_deploy"
    net = NETS / name / "net.prototxt"
    assert costs(caffe_compat.read(net)) == costs(caffe_compat.read(net, batch=1))


def test_peak_counts_parameters_and_what_is_still_read():
    text = (
        'layer { name: "d" type: "Input" top: "x" input_param { shape { dim: [1, 4, 5, 5] } } }'
        'layer { name: "a" type: "ReLU" bottom: "x" top: "a" }'
        'layer { name: "b" type: "AbsVal" bottom: "a" top: "b" }'
        'layer { name: "c" type: "Eltwise" bottom: "x" bottom: "b" top: "c" }'
    )
    assert costs(graph_of(text)).peak == 4 * 3 * 100


def test_as_dict_is_plain():
    total = costs(graph_of(one_layer('type: "ReLU"', (1, 2, 3, 4))))
    assert total.as_dict()["layers"][-1]["operations"] == 24
