"""numpy beside onnxruntime: what is compared, and the report if they differ."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import to_onnx, verify
from caffe_compat.errors import CaffeCompatError
from caffe_compat.layers.families.activation import TanH
from caffe_compat.layers.families.conv import Convolution
from caffe_compat.runtime.differences import TOLERANCES, Difference, Verification
from caffe_compat.runtime.sampling import draw_zeros, random_feeds

from ..cases import make, one_layer
from ..slope_nets import INPUT, conv, layer

NET = INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r") + layer("TanH", "c", "t")


def test_every_blob_is_compared():
    result = verify(make(NET))
    assert [d.blob for d in result.differences] == ["c", "c", "t"]
    assert result.first is None
    assert result.worst.largest < 1e-5
    assert str(result).startswith("verified: numpy and onnxruntime agree on 3 blobs; largest ")


def test_the_first_layer_that_differs_is_named(monkeypatch):
    monkeypatch.setattr(TanH, "forward", lambda self, x: np.tanh(x) * np.float32(1.01))
    result = verify(make(NET + layer("Sigmoid", "t", "s")))
    assert result.first.blob == "t"
    assert result.first.largest == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert str(result).startswith(
        "NOT verified: numpy and onnxruntime differ in layer 'tanh' (TanH), blob 't' (9.9e-03); "
    )


def test_a_layer_is_computed_from_the_reference_bottoms(monkeypatch):
    """So that a difference counts once, not in all layers behind it."""
    monkeypatch.setattr(TanH, "forward", lambda self, x: np.tanh(x) * np.float32(1.01))
    result = verify(make(NET + layer("Sigmoid", "t", "s") + layer("AbsVal", "s", "end")))
    assert not result.agrees
    differing = [d.blob for d in result.differences if d.largest > 1e-5]
    assert differing == ["t"]
    assert result.outputs[0].largest > 1e-4


def test_a_file_of_other_weights_is_not_verified(tmp_path):
    path = tmp_path / "n.onnx"
    to_onnx(make(NET), path)
    assert verify(make(NET), path).agrees
    result = verify(make(NET, seed=5), path)
    assert not result.agrees
    assert result.first.blob == "c"


def test_a_difference_between_the_layers_is_not_verified():
    result = Verification(
        (Difference("'a' (X)", "a", 0.0, True),),
        TOLERANCES["float32"],
        (Difference("'a' (X)", "a", 0.5, True),),
    )
    assert not result.agrees
    assert "layer by layer, but output 'a' differs by 5.0e-01 from end to end" in str(result)


def test_weights_that_are_all_0_are_drawn():
    zeros = INPUT + layer(
        "Convolution", "data", "c", "convolution_param { num_output: 4 kernel_size: 3 }"
    )
    net = make(zeros)
    assert not any(array.any() for arrays in net.arrays for array in arrays)
    weight, bias = draw_zeros(net).arrays[1]
    assert weight.std() > 0
    assert not bias.any()
    result = verify(net)
    assert result.drawn
    assert str(result).startswith("verified: with drawn weights, since weights are all 0: ")
    whole = make(NET)
    assert draw_zeros(whole) is whole


def test_shared_weights_that_are_all_0_are_drawn_once():
    param = "param { name: 'w' } inner_product_param { num_output: 7 bias_term: false axis: -1 }"
    text = one_layer(f'type: "InnerProduct" {param}', (2, 7))
    text += layer("InnerProduct", "y", "b", param)
    net = make(text)
    drawn = draw_zeros(net)
    assert drawn.arrays[1][0].any()
    assert np.array_equal(drawn.arrays[1][0], drawn.arrays[2][0])
    assert verify(net).agrees


def test_averages_that_are_all_0_are_drawn():
    text, last = INPUT, "data"
    convolution = (
        "convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: 'msra' } }"
    )
    for i in range(20):
        text += layer("Convolution", last, f"c{i}", convolution) + layer(
            "BatchNorm", f"c{i}", f"b{i}"
        )
        last = f"b{i}"
    result = verify(make(text))
    assert result.drawn
    assert result.agrees
    assert all(each.finite for each in result.differences)
    net = draw_zeros(make(INPUT + layer("BatchNorm", "data", "b")))
    mean, variance, factor = net.arrays[1]
    assert mean.any()
    assert ((variance >= 0.5) & (variance < 1.5)).all()
    assert factor == 1
    assert draw_zeros(net) is net
    net = draw_zeros(make(INPUT + layer("BN", "data", "b", "bn_param { momentum: 0.9 }")))
    *_, mean, variance = net.arrays[1]
    assert mean.any()
    assert ((variance >= 0.5) & (variance < 1.5)).all()


def test_the_file_of_another_net_is_refused(tmp_path):
    path = tmp_path / "n.onnx"
    to_onnx(make(NET.replace('"data"', '"other"')), path)
    with pytest.raises(CaffeCompatError, match="is of another net; its inputs: other"):
        verify(make(NET), path)


def test_another_shape_differs(monkeypatch):
    monkeypatch.setattr(TanH, "forward", lambda self, x: np.tanh(x)[:, :1])
    assert verify(make(NET)).first.largest == float("inf")


def test_a_layer_that_overflows_is_named():
    text = INPUT + layer("Power", "data", "p", "power_param { scale: 1e30 power: 3 }", "cube")
    result = verify(make(text))
    assert result.first is None
    assert "from layer 'cube' (Power) on, not all values are finite" in str(result)


def test_nan_in_place_of_a_number_differs():
    result = Verification((Difference("'a' (X)", "a", float("nan"), True),), TOLERANCES["float32"])
    assert result.first is result.differences[0]


def test_a_net_that_computes_nothing():
    assert str(verify(make(INPUT + layer("ReLU", "data", "r")))).startswith("verified: numpy")
    assert str(Verification((), TOLERANCES["float32"])) == "verified: the net computes nothing"


def test_random_feeds_are_classes_where_a_layer_looks_them_up():
    """Also before a Split and a Reshape, and for several layers."""
    text = (
        'input: "x" input_shape { dim: 50 dim: 7 } input: "label" input_shape { dim: 50 dim: 1 }'
        + layer("Reshape", "label", "flat", "reshape_param { shape { dim: 50 } }")
        + layer("SoftmaxWithLoss", "x flat", "loss")
        + layer("Accuracy", "x flat", "accuracy")
    )
    feeds = random_feeds(make(text), 3)
    assert set(feeds["label"].ravel()) == set(range(7))
    assert abs(feeds["x"].std() - 1) < 0.1
    again = random_feeds(make(text), 3)
    assert all((feeds[name] == again[name]).all() for name in feeds)
    assert verify(make(text)).first is None


X = 'input: "x" input_shape { dim: 6 dim: 4 } input: "i" input_shape { dim: 6 }'


@pytest.mark.parametrize(
    "text",
    [
        X + layer("SoftmaxWithLoss", "x i", "y"),
        X + 'input: "h" input_shape { dim: 4 dim: 4 }' + layer("InfogainLoss", "x i h", "y"),
        X + layer("Softmax", "x", "p") + layer("MultinomialLogisticLoss", "p i", "y"),
        X + layer("HingeLoss", "x i", "y"),
        X + layer("Accuracy", "x i", "y"),
        X + layer("BatchReindex", "x i", "y"),
        X + layer("Embed", "i", "y", "embed_param { num_output: 3 input_dim: 2 }"),
        X
        + layer("Embed", "i", "y", "embed_param { num_output: 3 input_dim: 2 }")
        + layer("Accuracy", "x i", "z"),
        'layer { name: "d" type: "Data" top: "x" top: "i" '
        'data_param { source: "s" batch_size: 6 } }' + layer("SoftmaxWithLoss", "x i", "y"),
    ],
)
def test_nets_that_look_up_classes(text):
    """The layers refuse any other input than integers in range."""
    inputs = {"x": (6, 4, 1, 1)} if "data_param" in text else None
    assert verify(make(text, inputs=inputs)).first is None


def test_two_rows_of_a_batch_are_computed(monkeypatch):
    seen = []
    forward = Convolution.forward

    def spy(self, x, **arrays):
        seen.append(len(x))
        return forward(self, x, **arrays)

    monkeypatch.setattr(Convolution, "forward", spy)
    net = make(NET, inputs={"data": (7, 3, 12, 13)})
    assert verify(net).agrees
    assert seen == [2]


def test_rows_that_a_model_mixes_up_are_noticed(monkeypatch):
    monkeypatch.setattr(TanH, "forward", lambda self, x: np.tanh(x[::-1]))
    assert not verify(make(NET, inputs={"data": (7, 3, 12, 13)})).agrees


def test_a_file_that_is_written_for_one_batch_is_run_with_it(tmp_path):
    """Its Reshape has the size of the batch, so that two rows do not fit."""
    reshape = "reshape_param { shape { dim: 28 dim: -1 } }"
    text = NET + layer("Reshape", "t", "q", reshape) + layer("AbsVal", "q", "end")
    net = make(text, inputs={"data": (7, 3, 12, 13)})
    to_onnx(net, tmp_path / "n.onnx")
    assert verify(net, tmp_path / "n.onnx").agrees


@pytest.mark.parametrize("normalization", ["BATCH_SIZE", "VALID", "NONE", "FULL"])
def test_a_loss_of_a_batch(tmp_path, normalization):
    loss = f"loss_param {{ normalization: {normalization} }}"
    text = INPUT + layer("InnerProduct", "data", "f", "inner_product_param { num_output: 5 }")
    text += 'input: "label" input_shape { dim: 2 } '
    net = make(
        text + layer("SoftmaxWithLoss", "f label", "loss", loss),
        inputs={"data": (7, 3, 12, 13), "label": (7,)},
    )
    to_onnx(net, tmp_path / "n.onnx")
    assert verify(net, tmp_path / "n.onnx").agrees


TINY = one_layer('type: "Power" power_param { scale: 1e-5 }', (2, 7)) + layer("ELU", "y", "e")


def test_rounding_is_told_from_a_fault(tmp_path):
    """exp(x) - 1 cancels where x is small: float32 has three digits of it, in any engine."""
    net, path = make(TINY), tmp_path / "n.onnx"
    to_onnx(net, path)
    result = verify(net, path)
    assert result.agrees
    assert result.worst is not None
    assert result.worst.largest > 1e-4
    assert "agree on 2 blobs, as far as float32 goes ('e' is " in str(result)
    wrong = make(TINY.replace("1e-5", "1.1e-5"))
    to_onnx(wrong, path)
    result = verify(net, path)
    assert not result.agrees
    assert "differ in layer 'l' (Power)" in str(result)


def test_signals_of_a_deep_net_stay_where_float32_has_digits():
    """Each layer alone would shrink or multiply them by ten."""
    text, last = INPUT, "data"
    for i in range(60):
        param = "convolution_param { num_output: 3 kernel_size: 1 bias_term: false }"
        text += layer("Convolution", last, f"c{i}", param) + layer("BatchNorm", f"c{i}", f"b{i}")
        text += layer("Power", f"b{i}", f"p{i}", f"power_param {{ scale: {(0.1, 10)[i > 30]} }}")
        last = f"p{i}"
    net = draw_zeros(make(text))
    values = net.run(random_feeds(net, 1))
    assert 0.02 < values["c59"].std() < 50
    assert verify(make(text)).agrees
