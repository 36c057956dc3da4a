from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat import pipeline, weights
from caffe_compat.errors import ShapeError, WeightsError
from caffe_compat.net.fold import fold_batchnorm
from caffe_compat.net.net import Net
from caffe_compat.prototxt import writer
from caffe_compat.weights import snapshot

from ..cases import assert_close, feed, make, run_onnx

NETS = Path(__file__).parents[1] / "golden" / "nets"
INPUT = (
    'name: "n" layer { name: "data" type: "Input" top: "data"'
    " input_param { shape { dim: 2 dim: 6 dim: 9 dim: 7 } } }"
)
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    convolution_param { num_output: 4 kernel_size: 3 %s weight_filler { type: "xavier" } } }"""
DECONV = CONV.replace('"Convolution"', '"Deconvolution"')
DENSE = """layer { name: "conv" type: "InnerProduct" bottom: "data" top: "conv"
    inner_product_param { num_output: 4 %s weight_filler { type: "xavier" } } }"""


def norm(bottom="conv", top="norm", name="norm", more=""):
    return f'layer {{ name: "{name}" type: "BatchNorm" bottom: "{bottom}" top: "{top}" {more} }}'


def scale(bottom="norm", top="scale", name="scale", more="scale_param { bias_term: true }"):
    return f'layer {{ name: "{name}" type: "Scale" bottom: "{bottom}" top: "{top}" {more} }}'


def random(net: Net, seed=5) -> Net:
    """Return the net with other numbers in every blob, as after training."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for index, node in enumerate(net.graph.nodes):
        for i, (blob, old) in enumerate(zip(node.blobs, net.arrays[index], strict=True)):
            array = (0.3 * rng.standard_normal(old.shape)).astype(np.float32)
            if node.layer.type == "BatchNorm":
                array = np.abs(array) + {"factor": 2, "variance": 0.1}.get(blob.name, 0)
            arrays[index, i] = array.astype(np.float32)
    return Net(
        net.graph,
        tuple(
            tuple(
                arrays[owner].reshape(blob.shape)
                for owner, blob in zip(node.owners, node.blobs, strict=True)
            )
            for node in net.graph.nodes
        ),
    )


def check(net: Net):
    """Folds; numpy and onnxruntime agree with the unfolded net on every output."""
    before = [[array.copy() for array in blobs] for blobs in net.arrays]
    folded, report = fold_batchnorm(net)
    feeds = feed(net)
    want, got, onnx = net.forward(feeds), folded.forward(feeds), run_onnx(folded, feeds)
    assert [v.blob for v in folded.graph.outputs] == [v.blob for v in net.graph.outputs]
    for value in net.graph.outputs:
        assert_close(got[value.blob], want[value.blob], 1e-5, value.blob)
        assert_close(onnx[value.blob], want[value.blob], 1e-5, value.blob)
    for old, new in zip(before, net.arrays, strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)
    return folded, report


def kinds(net: Net) -> list[str]:
    return [node.layer.type for node in net.graph.nodes]


@pytest.mark.parametrize("bias", ["bias_term: false", "bias_filler { type: 'xavier' }"])
@pytest.mark.parametrize(
    "linear",
    [
        CONV,
        CONV.replace("num_output", "group: 2 stride: 2 pad: 1 num_output"),
        DECONV,
        DECONV.replace("num_output", "group: 2 stride: 2 num_output"),
        DENSE,
        DENSE.replace("num_output", "transpose: true num_output"),
    ],
)
def test_batch_norm_and_scale_go_into_every_linear_layer(linear, bias):
    net = random(make(INPUT + linear % bias + norm() + scale()))
    folded, report = check(net)
    assert kinds(folded) == ["Input", net.graph.nodes[1].layer.type]
    assert report.folded == (("conv", ("norm", "scale")),)
    assert report.kept == ()
    assert [blob.name for blob in folded.graph.nodes[1].blobs] == ["weight", "bias"]
    assert list(report.lines()) == ["folded into conv: norm, scale"]


def test_in_place_chains_and_what_follows_them():
    relu = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
    chain = norm("conv", "conv") + scale("conv", "conv") + relu
    net = random(make(INPUT + CONV % "bias_term: false" + chain))
    folded, _ = check(net)
    assert kinds(folded) == ["Input", "Convolution", "ReLU"]
    assert list(folded.graph.net.layer[1].top) == ["conv"]


def test_a_chain_ends_at_the_first_layer_that_stays():
    drop = 'layer { name: "relu" type: "ReLU" bottom: "norm" top: "relu" }'
    net = random(make(INPUT + CONV % "" + norm() + drop + scale("relu")))
    folded, report = check(net)
    assert kinds(folded) == ["Input", "Convolution", "ReLU", "Scale"]
    assert list(folded.graph.net.layer[2].bottom) == ["norm"]
    assert report.kept == (("scale", "follows 'relu' (ReLU)"),)


def test_layers_between_in_the_prototxt_that_are_not_between_in_the_net():
    other = 'layer { name: "other" type: "AbsVal" bottom: "data" top: "other" }'
    net = random(make(INPUT + CONV % "" + other + norm()))
    folded, _ = check(net)
    assert kinds(folded) == ["Input", "Convolution", "AbsVal"]


@pytest.mark.parametrize(
    "more",
    [
        "",
        "scale_param { num_axes: 0 }",
        "scale_param { num_axes: 0 bias_term: true }",
        "scale_param { axis: -3 bias_term: true }",
    ],
)
def test_a_scale_by_itself(more):
    folded, report = check(random(make(INPUT + CONV % "" + scale("conv", more=more))))
    assert kinds(folded) == ["Input", "Convolution"]
    assert report.folded == (("conv", ("scale",)),)


def test_a_scale_over_axes_of_size_one():
    pooled = INPUT + (CONV % "").replace("kernel_size: 3", "kernel_h: 9 kernel_w: 7")
    folded, _ = check(random(make(pooled + scale("conv", more="scale_param { num_axes: -1 }"))))
    assert kinds(folded) == ["Input", "Convolution"]


def test_a_dense_layer_is_scaled_on_its_last_axis_only():
    dense = INPUT + DENSE % "axis: 2"
    folded, _ = check(random(make(dense + scale("conv", more="scale_param { axis: 2 }"))))
    assert kinds(folded) == ["Input", "InnerProduct"]
    for more in (norm(), scale("conv", more="scale_param { axis: 1 }")):
        net = random(make(dense + more))
        folded, report = check(net)
        assert kinds(folded) == kinds(net)
        assert "does not act on the channels of 'conv' (InnerProduct)" in report.kept[0][1]


TWO = 'layer { name: "abs" type: "AbsVal" bottom: "conv" top: "abs" }'


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (CONV % "" + TWO + norm(), "'conv' has other readers"),
        (norm("data"), "follows 'data' (Input)"),
        (
            CONV % "" + norm(more="batch_norm_param { use_global_stats: false }"),
            "normalises by the statistics of the batch",
        ),
        (
            CONV % "" + scale("conv", more="scale_param { num_axes: 2 }"),
            "does not act on the channels of 'conv' (Convolution) one by one",
        ),
        (
            (CONV % "").replace('top: "conv"', 'top: "conv" loss_weight: 2', 1) + norm(),
            "'conv' has a loss weight",
        ),
        (CONV % "" + norm(more="loss_weight: 2"), "has a loss weight"),
    ],
)
def test_what_stays_and_why(layers, reason):
    net = random(make(INPUT + layers))
    folded, report = check(net)
    assert kinds(folded) == kinds(net)
    assert report.folded == ()
    assert [reason for _, reason in report.kept] == [reason]
    for old, new in zip(net.arrays, folded.arrays, strict=True):
        assert all(a is b for a, b in zip(old, new, strict=True))


def test_a_scale_by_another_blob_stays():
    gate = (
        'layer { name: "gate" type: "Input" top: "gate" input_param { shape { dim: 2 dim: 4 } } }'
    )
    by = 'layer { name: "by" type: "Scale" bottom: "conv" bottom: "gate" top: "y" '
    net = random(make(INPUT + gate + CONV % "" + by + "scale_param { axis: 0 } }"))
    _, report = check(net)
    assert report.kept == (("by", "its factor is a blob of the net, not a parameter"),)


def test_shared_weights_stay_and_shared_factors_do_not():
    spec = 'param { name: "w" } param { name: "b" } '
    first = (CONV % "").replace("convolution_param", spec + "convolution_param")
    second = first.replace('"conv"', '"conv2"')
    net = random(make(INPUT + first + second + norm() + norm("conv2", "norm2", "norm2")))
    folded, report = check(net)
    assert kinds(folded) == kinds(net)
    assert [reason for _, reason in report.kept] == [
        "'conv' (Convolution) shares its parameters",
        "'conv2' (Convolution) shares its parameters",
    ]
    factor = 'param { name: "s" }'
    six = (CONV % "").replace("num_output: 4", "num_output: 6")
    others = norm("data", "n", "n") + scale("n", "m", "m", factor)
    net = random(make(INPUT + six + scale("conv", more=factor) + others))
    folded, report = check(net)  # what owned the shared factor is gone, and the other has it still
    assert kinds(folded) == ["Input", "Convolution", "BatchNorm", "Scale"]
    assert report.folded == (("conv", ("scale",)),)


def test_several_tops_stay():
    second = 'layer { name: "d2" type: "Power" bottom: "data" top: "d2" power_param { scale: 2 } }'
    both = (CONV % "").replace('top: "conv"', 'bottom: "d2" top: "conv" top: "conv2"', 1)
    net = random(make(INPUT + second + both + norm()))
    _, report = check(net)
    assert report.kept == (("norm", "'conv' (Convolution) has several tops"),)


def test_statistics_that_would_make_infinite_weights_stay():
    net = random(make(INPUT + CONV % "" + norm()))
    mean, variance, factor = net.arrays[2]
    for bad in (-variance, np.full_like(variance, np.nan)):
        broken = Net(net.graph, (*net.arrays[:2], (mean, bad, factor)))
        folded, report = fold_batchnorm(broken)
        assert kinds(folded) == kinds(net)
        assert "would not be finite" in report.kept[0][1]


def test_a_factor_of_zero_is_a_net_that_never_trained():
    net = random(make(INPUT + CONV % "" + norm()))
    mean, variance, factor = net.arrays[2]
    check(Net(net.graph, (*net.arrays[:2], (mean, variance, 0 * factor))))


def test_open_axes_stay_open():
    text = INPUT + CONV % "" + norm() + scale()
    net = random(make(text, inputs={"data": (None, 6, None, 7)}))
    folded, _ = fold_batchnorm(net)
    assert folded.graph.inputs[0].dims == net.graph.inputs[0].dims == (None, 6, None, 7)
    assert folded.graph.outputs[0].dims == net.graph.outputs[0].dims


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["norm", "scale", "relu", "conv", "factor"]), min_size=1, max_size=7),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_chain_computes_what_it_did(chain, inplace, seed):
    text, bottom = INPUT + CONV % "", "conv"
    for i, kind in enumerate(chain):
        top = bottom if inplace and kind != "conv" else f"b{i}"
        if kind == "norm":
            text += norm(bottom, top, f"l{i}")
        elif kind in ("scale", "factor"):
            more = "" if kind == "factor" else "scale_param { bias_term: true }"
            text += scale(bottom, top, f"l{i}", more)
        elif kind == "relu":
            text += f'layer {{ name: "l{i}" type: "ReLU" bottom: "{bottom}" top: "{top}" }}'
        else:
            text += (
                f'layer {{ name: "l{i}" type: "Convolution" bottom: "{bottom}" top: "{top}" '
                "convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }"
            )
        bottom = top
    folded, report = check(random(make(text), seed))
    assert "BatchNorm" not in kinds(folded) or report.kept
    gone = sum(len(names) for _, names in report.folded)
    assert len(kinds(folded)) + gone == 2 + len(chain)


def test_resnet_50_keeps_no_normalisation():
    path = NETS / "KaimingHe_deep_residual_networks_prototxt_ResNet_50_deploy" / "net.prototxt"
    net = pipeline.load(path, rng="fast")
    folded, report = fold_batchnorm(net)
    assert not {"BatchNorm", "Scale"} & set(kinds(folded))
    assert report.kept == ()
    assert len(report.folded) == kinds(net).count("BatchNorm") == 53


def test_the_folded_net_and_weights_are_written_and_read_again(tmp_path):
    net = random(make(INPUT + CONV % "bias_term: false" + norm() + scale()))
    folded, _ = fold_batchnorm(net)
    pipeline.save(folded, tmp_path / "f.caffemodel")
    writer.write_text(folded.graph.net, tmp_path / "f.prototxt")
    again = pipeline.load(tmp_path / "f.prototxt", tmp_path / "f.caffemodel")
    feeds = feed(net)
    assert_close(again.forward(feeds)["scale"], net.forward(feeds)["scale"])
    assert [layer.type for layer in weights.read(tmp_path / "f.caffemodel").layers] == [
        "Input",
        "Convolution",
    ]


def test_a_weights_file_that_was_cut_is_not_read(tmp_path):
    net = random(make(INPUT + CONV % "" + norm()))
    path = tmp_path / "w.caffemodel"
    snapshot.write_caffemodel(path, net.graph.net, net.arrays)
    writer.write_text(net.graph.net, tmp_path / "n.prototxt")
    loaded = pipeline.load(tmp_path / "n.prototxt", path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="was changed since it was opened"):
        fold_batchnorm(loaded)


def test_blobs_to_keep_are_not_folded_away():
    net = random(make(INPUT + CONV % "bias_term: false" + norm() + scale()))
    folded, report = fold_batchnorm(net, ["norm"])
    assert list(report.lines()) == ["folded into conv: norm", "kept scale: 'norm' is an output"]
    feeds = feed(net)
    for blob in ("norm", "scale"):
        assert_close(folded.forward(feeds)[blob], net.forward(feeds)[blob])
    with pytest.raises(ShapeError, match="the net has no blob 'other'"):
        fold_batchnorm(net, ["other"])
