"""The steps of the line: each takes a value and returns a new one."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from caffe_compat import load, steps, weights
from caffe_compat.errors import UnsupportedError
from caffe_compat.net.saving import save
from caffe_compat.options import Filling, Onnx, Reading
from caffe_compat.prototxt.skipped import Unknown
from caffe_compat.prototxt.upgrade import upgrade

from .cases import REPORTS, make
from .slope_nets import INPUT, conv, layer

NET = (
    INPUT
    + conv("one", "data")
    + layer("BatchNorm", "one", "one", "", "bn")
    + layer("ReLU", "one", "r", "include { phase: TEST }")
    + layer("TanH", "one", "t")
)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path / "net.prototxt"


def test_weights_are_opened_once(tmp_path):
    save(make(NET), tmp_path / "w.caffemodel")
    stored = steps.open_weights(tmp_path / "w.caffemodel")
    assert isinstance(stored, weights.Weights)
    assert steps.open_weights(stored) is stored
    assert steps.open_weights(None) is None


def test_read_selects_nothing_and_judges_nothing(path):
    path.write_text(NET.replace("top", "fork_only: 1 top", 1).replace("phase", "os: LINUX phase"))
    net, unknown = steps.read(path, Reading())
    assert [layer.name for layer in net.layer] == ["one", "bn", "relu", "tanh"]
    assert list(net.input) == ["data"]
    assert [field.field for field in unknown.skipped] == ["fork_only", "os"]
    assert unknown.counted == unknown.skipped
    path.write_text('layers { name: "a" type: NOVEL }')
    net, unknown = steps.read(path, Reading())
    current = steps.upgrade(net, unknown)
    with pytest.raises(UnsupportedError, match=r"layer 'a' \(NOVEL\): unknown layer type"):
        steps.build(steps.select(current, Reading()), unknown, Reading(), None)


def test_no_step_changes_its_input(path):
    reading, onnx = Reading(splits=True), Onnx(fold_batchnorm=True)
    message, unknown = steps.read(path, reading)
    assert unknown == Unknown([], [])
    before = message.SerializeToString(deterministic=True)
    selected = steps.select(upgrade(message), reading)
    assert message.SerializeToString(deterministic=True) == before
    before = selected.SerializeToString(deterministic=True)
    steps.build(selected, unknown, reading, None)
    assert selected.SerializeToString(deterministic=True) == before
    net = make(NET)
    arrays = [[array.copy() for array in blobs] for blobs in net.arrays]
    folded = steps.fold(net, onnx)
    assert len(folded.graph.nodes) == len(net.graph.nodes) - 1
    lowered = steps.lower(folded, onnx)
    model = lowered.model.SerializeToString(deterministic=True)
    steps.rewrite(lowered, folded, onnx)
    assert lowered.model.SerializeToString(deterministic=True) == model
    for blobs, copies in zip(net.arrays, arrays, strict=True):
        for array, other in zip(blobs, copies, strict=True):
            np.testing.assert_array_equal(array, other)


def test_select_inserts_splits_on_request():
    net = make(NET).graph.net
    plain, split = steps.select(net, Reading()), steps.select(net, Reading(splits=True))
    assert [layer.name for layer in plain.layer] == ["input", "one", "bn", "relu", "tanh"]
    assert [layer.name for layer in split.layer][3] == "one_bn_0_split"
    train = steps.select(net, Reading(phase="TRAIN"))
    assert [layer.name for layer in train.layer] == ["input", "one", "bn", "tanh"]


def test_slopes_without_an_msra_filler_are_warned_of(caplog):
    graph = make(NET.replace("msra", "xavier")).graph
    with caplog.at_level(logging.WARNING, "caffe_compat"):
        net = steps.fill(graph, None, Filling(slopes="auto"))
    assert "slopes change nothing" in caplog.text
    assert net.arrays[1][0].any()


def test_fold_logs_its_report(caplog):
    with caplog.at_level(logging.INFO, "caffe_compat"):
        steps.fold(make(NET), Onnx(fold_batchnorm=True))
    assert caplog.messages == ["folded into one: bn"]
    net = make(NET)
    assert steps.fold(net, Onnx()) is net


def test_statistics_that_are_not_used_are_named(caplog):
    """Report 11: real Caffe gives x / sqrt(eps), and no word."""
    folder = REPORTS / "11_bn_factor0"
    with caplog.at_level(logging.WARNING, "caffe_compat"):
        net = load(folder / "net.prototxt", folder / "w.caffemodel")
    assert "third blob, by which Caffe divides them, is 0 (the output is x / sqrt(eps)): bn" in (
        caplog.text
    )
    x = np.random.default_rng(0).standard_normal((1, 4, 5, 5)).astype(np.float32)
    values = net.run({"data": x})
    before, after = values["c/c"], values["c/bn"]
    np.testing.assert_allclose(after, before / np.sqrt(np.float32(1e-5)), rtol=1e-5)
    caplog.clear()
    load(folder / "net.prototxt")
    assert "third blob" not in caplog.text
