"""The models that a session opens: their outputs, and files that are none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.onnx.lowering import Lowered, lower
from caffe_compat.runtime import models
from caffe_compat.runtime.session import Session

from ..cases import feed


def test_join_and_split_are_each_others_inverse(net):
    lowered = lower(net)
    model = models.join(lowered)
    onnx.checker.check_model(model, full_check=True)
    assert not lowered.model.graph.initializer
    apart = models.split(model)
    assert apart.model == lowered.model
    assert apart.arrays.keys() == lowered.arrays.keys()
    for name, array in apart.arrays.items():
        assert array.dtype == lowered.arrays[name].dtype
        np.testing.assert_array_equal(array, lowered.arrays[name])


def test_one_file_has_all_weights(net, tmp_path):
    pipeline.to_onnx(net, tmp_path / "n.onnx", weights_as="external")
    for model in (tmp_path / "n.onnx", lower(net)):
        data = models.to_bytes(model)
        assert len(data) > 260_000
        feeds = feed(net)
        outputs = Session(data, "cpu").run(feeds)["prob"]
        np.testing.assert_allclose(outputs, net.forward(feeds)["prob"], atol=1e-6)
    (tmp_path / "x.onnx").write_bytes(b"<html>")
    with pytest.raises(CaffeCompatError, match=r"x\.onnx: not an ONNX file"):
        models.to_bytes(tmp_path / "x.onnx")


def test_a_small_file_without_slow_operators_is_left_to_onnxruntime(net, tmp_path):
    path = tmp_path / "n.onnx"
    pipeline.to_onnx(net, path)
    assert models.resolve(path, (), on_cpu=False) == str(path)
    assert isinstance(models.resolve(path, (), on_cpu=True), Lowered)  # it has a PRelu
    assert models.resolve(path.read_bytes(), (), on_cpu=True) == path.read_bytes()


def test_outputs_are_added_to_a_copy(net):
    lowered = lower(net)
    wider = models.resolve(lowered, ["conv1", "drop", "prob"], on_cpu=False)
    assert [value.name for value in wider.model.graph.output] == ["prob", "conv1", "drop"]
    assert [value.name for value in lowered.model.graph.output] == ["prob"]


def test_an_unknown_blob_is_named_with_the_known_ones(net, tmp_path):
    path = tmp_path / "n.onnx"
    pipeline.to_onnx(net, path)
    for each in (net, path, path.read_bytes()):
        with pytest.raises(ShapeError, match="no blob 'conv9'"):
            models.resolve(each, ["conv9"], on_cpu=True)
    with pytest.raises(ShapeError, match=r"its blobs: conv1, data, fc, prob, drop$"):
        models.resolve(path, ["conv9"], on_cpu=True)


def test_files_that_are_no_model(tmp_path):
    with pytest.raises(CaffeCompatError, match=r"none\.onnx: no such file"):
        models.resolve(tmp_path / "none.onnx", (), on_cpu=True)
    page = tmp_path / "html.onnx"
    page.write_text("<html>")
    assert models.resolve(page, (), on_cpu=True) == str(page)  # onnxruntime has the error
    with pytest.raises(CaffeCompatError, match=r"html\.onnx: not an ONNX file"):
        models.resolve(page, ["x"], on_cpu=True)
    with pytest.raises(CaffeCompatError, match="the model: not an ONNX file"):
        models.resolve(b"<html>", ["x"], on_cpu=True)


def test_one_further_output_is_its_name(net):
    blob = net.graph.nodes[1].tops[0].blob
    assert blob in Session(net, "cpu", blobs=blob).outputs
