"""DenseBlock beside the layers that it stands for, their kernels turned by half a circle."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer

BLOCK = (
    'type: "DenseBlock" denseblock_param { numTransition: 3 growthRate: 2 '
    'Filter_Filler { type: "gaussian" std: 0.3 } BN_Scaler_Filler { type: "uniform" min: 0.5 } '
    'BN_Bias_Filler { type: "gaussian" std: 0.1 } %s }'
)
SHAPE = (4, 5, 6, 7)
BNS = ["", "use_BC: true"]


def layers(bc):
    """Return the block as BatchNorm, Scale, ReLU, Convolution and Concat."""
    text, source = "", "a"
    for t in range(3):
        flow = source
        for name, kernel, outputs in [("x", 1, 8), ("y", 3, 2)] if bc else [("y", 3, 2)]:
            own = f"{name}{t}"
            text += f"""
layer {{ name: "bn_{own}" type: "BatchNorm" bottom: "{flow}" top: "bn_{own}" }}
layer {{ name: "s_{own}" type: "Scale" bottom: "bn_{own}" top: "s_{own}"
  scale_param {{ bias_term: true }} }}
layer {{ name: "r_{own}" type: "ReLU" bottom: "s_{own}" top: "r_{own}" }}
layer {{ name: "c_{own}" type: "Convolution" bottom: "r_{own}" top: "c_{own}"
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2}
    bias_term: false }} }}"""
            flow = f"c_{own}"
        text += f"""
layer {{ name: "cat{t}" type: "Concat" bottom: "{source}" bottom: "{flow}" top: "cat{t}" }}"""
        source = f"cat{t}"
    return one_layer('type: "Power"', SHAPE).rsplit("layer", 1)[0] + text


def parts(t, bc):
    """Return the block's blobs by the layers' names: scale, bias, mean, variance, filter."""
    outer = [f"{name}_{t}" for name in ("scale", "bias", "mean", "variance")]
    if not bc:
        return {f"y{t}": [*outer, f"filter_{t}"]}
    inner = [f"{name}_4g_{t}" for name in ("scale", "bias", "mean", "variance")]
    return {f"x{t}": [*outer, f"filter_1x1_{t}"], f"y{t}": [*inner, f"filter_{t}"]}


def same(block, bc, phase, count=1.0):
    """Return the layers with the block's numbers."""
    net, blobs = make(layers(bc), phase=phase), block.blobs_of(-1)
    own = {node.layer.name: net.arrays[i] for i, node in enumerate(net.graph.nodes)}
    for t in range(3):
        for name, (scale, bias, mean, variance, weight) in parts(t, bc).items():
            for target, source in zip(
                [*own[f"bn_{name}"][:2], *own[f"s_{name}"], *own[f"c_{name}"]],
                [mean, variance, scale, bias, weight],
                strict=True,
            ):
                array = blobs[source].reshape(target.shape)
                target[...] = array[..., ::-1, ::-1] if "filter" in source else array
            own[f"bn_{name}"][2][...] = count
    return net


@pytest.mark.parametrize("bc", BNS)
@pytest.mark.parametrize("count", [0, 4])
def test_stored_averages(bc, count):
    text = one_layer(BLOCK % bc, SHAPE)
    block = make(text)
    rng = np.random.default_rng(5)
    for name, array in block.blobs_of(-1).items():
        if "mean" in name:
            array[...] = rng.standard_normal(array.shape)
        elif "variance" in name:
            array[...] = rng.uniform(0.5, 2, array.shape)
    block.blobs_of(-1)["count"][...] = count
    feeds = feed(block)
    got = block.forward(feeds)["y"]
    assert got.shape == (4, 11, 6, 7)
    assert_close(got, same(block, bool(bc), "TEST", count or 1).forward(feeds)["cat2"])


@pytest.mark.parametrize("bc", BNS)
def test_onnx_and_gradients(bc):
    text = one_layer(BLOCK % bc, SHAPE)
    check_both(text)
    fixed = [f"{n}{k}_{t}" for n in ("mean", "variance") for k in ("", "_4g") for t in range(3)]
    feeds = {"a": feed(make(text))["a"]}
    for phase in ("TEST", "TRAIN"):
        check_gradients(
            text, feeds=feeds, phase=phase, fixed=("count", *fixed), step=1e-4, tolerance=3e-2
        )


@pytest.mark.parametrize("bc", BNS)
def test_the_batchs_own_moments(bc):
    """In TRAIN, and the averages that it leaves: a tenth of the batch's unbiased moments."""
    block = make(one_layer(BLOCK % bc, SHAPE), phase="TRAIN")
    blobs, feeds, kept = block.blobs_of(-1), feed(block), {}
    reference = same(block, bool(bc), "TRAIN")
    blobs["count"][...] = 2  # as the fork's CPU code leaves it: sums
    want = reference.run(feeds)
    values = block.run(feeds, keep=kept)
    assert_close(values["y"], want["cat2"])
    old = {name: array.copy() for name, array in blobs.items()}
    block.update(values, kept)
    assert blobs["count"][0] == 0
    for t in range(3):
        for name, (scale, _, mean, variance, _) in parts(t, bool(bc)).items():
            source = next(n for n in reference.graph.nodes if n.layer.name == f"bn_{name}")
            x = want[source.bottoms[0].name]
            batch = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
            for blob, moment in zip((mean, variance), batch, strict=True):
                expected = 0.9 * old[blob].ravel() / 2 + 0.1 * moment
                np.testing.assert_allclose(blobs[blob].ravel(), expected, 1e-4, 1e-5)
            assert np.array_equal(blobs[scale], old[scale])


@pytest.mark.parametrize("bc", BNS)
def test_blobs_in_the_forks_order(bc):
    """Kind by kind in the file, and drawn transition by transition."""
    net = make(one_layer(BLOCK % bc, SHAPE))
    names = [blob.name for blob in net.graph.nodes[-1].blobs]
    assert len(names) == (31 if bc else 16)
    assert names[:4] == ["filter_0", "filter_1", "filter_2", "scale_0"]
    assert names[14] == "variance_2" and names[-1] == "count"
    rng, blobs = BoostRng(1701), net.blobs_of(-1)
    order = ["filter_0", "filter_1x1_0", "scale_0", "scale_4g_0", "bias_0", "bias_4g_0", "filter_1"]
    for name in order if bc else [each for each in order if "1x1" not in each and "4g" not in each]:
        draw, mean, std = rng.normal, 0, 0.1 if "bias" in name else 0.3
        if "scale" in name:
            draw, mean, std = rng.uniform, 0.5, 1
        assert np.array_equal(blobs[name].ravel(), draw(mean, std, blobs[name].size)), name
    assert (blobs["variance_1"] == 1).all() and not blobs["mean_1"].any()


@pytest.mark.parametrize(
    ("body", "shape", "error", "words"),
    [
        (BLOCK % "" + " param { lr_mult: 1 }", SHAPE, ShapeError, "takes no param"),
        (BLOCK % "", SHAPE[:3], ShapeError, "4 axes"),
        (BLOCK.replace("3", "2000000000", 1) % "", SHAPE, ShapeError, "must be 1 to 1000"),
        (BLOCK.replace("2", "0", 1) % "", SHAPE, ShapeError, "growthRate 0 positive"),
        (BLOCK % "use_dropout: true dropout_amount: 0.2", SHAPE, UnsupportedError, "at random"),
    ],
)
def test_refused(body, shape, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, shape), phase="TRAIN")
