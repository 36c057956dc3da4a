"""Layers that draw in TEST: numpy, ONNX and `verify` on a Bayesian SegNet's Dropout."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest

import caffe_compat
from caffe_compat.errors import DeviceError, ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng, FastRng
from caffe_compat.layers.families.dropout import Dropout
from caffe_compat.runtime import verification
from caffe_compat.runtime.placement import check_random, check_recordable

from ..cases import make, one_layer

SHAPE = (4, 16, 20, 20)
RATIO = 0.25
SAMPLED = f'type: "Dropout" dropout_param {{ dropout_ratio: {RATIO} sample_weights_test: true }}'
ONES = {"a": np.ones(SHAPE, np.float32)}
INNER = """layer { name: "f" type: "InnerProduct" bottom: "y" top: "f"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }"""


def assert_drawn(runs):
    """Each run drops a quarter and scales the rest; no two agree, and their mean is the input."""
    assert all(set(np.unique(run)) == {np.float32(0), np.float32(1 / 0.75)} for run in runs)
    shares = np.array([(run == 0).mean() for run in runs])
    assert np.abs(shares - RATIO).max() < 6 * np.sqrt(RATIO * (1 - RATIO) / runs[0].size)
    assert all(not np.array_equal(a, b) for a, b in pairwise(runs))
    assert abs(np.mean(runs) - 1) < 0.005
    both = np.mean((runs[0] == 0) & (runs[1] == 0))
    assert both == pytest.approx(RATIO**2, abs=0.02)  # independent


def test_numpy_draws_in_every_pass():
    net = make(one_layer(SAMPLED, SHAPE))
    assert_drawn([net.forward(ONES)["y"] for _ in range(20)])


def test_a_stream_gives_the_same_mask_again_as_in_training():
    net, train = (make(one_layer(SAMPLED, SHAPE), phase=phase) for phase in ("TEST", "TRAIN"))
    extra = net.draw(BoostRng(3))
    (wanted,) = train.draw(BoostRng(3)).values()
    assert np.array_equal(extra[1]["mask"], wanted["mask"])
    values = net.run(ONES, extra)
    assert np.array_equal(values["y"], train.run(ONES, train.draw(BoostRng(3)))["y"])
    kept = {}
    values = net.run(ONES, keep=kept)
    assert np.array_equal(
        net.graph.nodes[1].layer.backward(*[ONES["a"]] * 2, **kept[1]), values["y"]
    )
    assert np.array_equal(
        net.run(ONES, net.draw(FastRng(1)))["y"] == 0, ~net.draw(FastRng(1))[1]["mask"].astype(bool)
    )


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("opset", [12, 15, 18, 22])
def test_onnxruntime_draws_in_every_run(tmp_path, opset, optimized):
    """Its optimizer takes out a Dropout in training mode too, unless something reads the mask."""
    path = tmp_path / "net.onnx"
    relu = 'layer { name: "r" type: "ReLU" bottom: "y" top: "z" }'
    caffe_compat.to_onnx(make(one_layer(SAMPLED, SHAPE) + relu), path, opset=opset)
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    )
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert_drawn([session.run(None, ONES)[0] for _ in range(20)])


def test_refusals(tmp_path):
    net = make(one_layer(SAMPLED, SHAPE))
    with pytest.raises(UnsupportedError, match=r"training_mode, .* came with opset 12"):
        caffe_compat.to_onnx(net, tmp_path / "net.onnx", opset=11)
    for target in ("opencv", "tensorrt"):
        with pytest.raises(
            UnsupportedError, match=r"'l' \(Dropout\).* draws at random in every run"
        ):
            caffe_compat.to_onnx(net, tmp_path / "net.onnx", target=target)
    for body in (
        SAMPLED.replace("Dropout", "SpatialDropout", 1),
        SAMPLED.replace(" }", " scale_train: false }"),
    ):
        with pytest.raises(UnsupportedError, match="sample_weights_test: true is of a fork"):
            make(one_layer(body, SHAPE))
    with pytest.raises(ShapeError, match="dropout_ratio must be at least 0 and below 1"):
        make(one_layer(SAMPLED.replace("0.25", "1"), SHAPE))


def test_graphs_and_tensorrt_do_not_run_it():
    """The one would drop the same in every run, the other nothing."""
    lowered = caffe_compat.lower(make(one_layer(SAMPLED, SHAPE)))
    with pytest.raises(UnsupportedError, match=r"replay the random numbers .*: 'l/Dropout'"):
        check_recordable(lowered)
    with pytest.raises(DeviceError, match=r"drops nothing at random: 'l/Dropout'"):
        check_random(lowered)
    plain = caffe_compat.lower(make(one_layer('type: "ReLU"', SHAPE)))
    check_recordable(plain)
    check_random(plain)


def test_a_note_tells(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    path.write_text(one_layer(SAMPLED, SHAPE))
    with caplog.at_level(logging.INFO, "caffe_compat"):
        caffe_compat.load(path)
    assert (
        "Dropout of layers 'l' draws at random in every run, as its fork does; "
        "the mean of many runs is the prediction"
    ) in caplog.messages


def test_verify_compares_by_the_models_mask(monkeypatch):
    net = make(one_layer(SAMPLED, SHAPE) + INNER)
    result = caffe_compat.verify(net)
    assert result.agrees
    assert [d.blob for d in result.differences] == ["y", "f"]
    assert result.worst.largest < 1e-5
    assert not result.outputs
    assert "outputs behind 'l' (Dropout), which draws at random in every run, are not" in str(
        result
    )

    lower = Dropout.lower
    monkeypatch.setattr(
        Dropout, "lower", lambda self, g, x: g.Mul(lower(self, g, x), np.float32(1.1))
    )
    assert not caffe_compat.verify(net).agrees


def test_verify_sees_a_wrong_ratio(monkeypatch):
    net = make(one_layer(SAMPLED, SHAPE) + INNER)

    def lower(self, g, x):
        y, kept = g.Dropout(x, np.float32(0.4), np.bool_(True), outputs=2)
        return g.Mul(g.Where(kept, y, np.float32(0)), np.float32(0.6 / 0.75))

    monkeypatch.setattr(Dropout, "lower", lower)
    result = caffe_compat.verify(net)
    assert not result.agrees
    assert result.first.blob == "y"


def test_outputs_before_it_are_compared_from_end_to_end():
    tanh = 'layer { name: "t" type: "TanH" bottom: "a" top: "t" }'
    net = make(one_layer(SAMPLED, SHAPE) + tanh)
    result = verification.verify(net)
    assert [d.blob for d in result.outputs] == ["t"]
    assert replace(result, random="").agrees
