"""The line: `convert` and its parts, by keywords and by packed options."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

import caffe_compat
from caffe_compat import packed, pipeline, weights
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import Lowered
from caffe_compat.options import Filling, Onnx, Reading

from .slope_nets import conv, layer

NET = (
    'name: "n" input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 9 }\n'
    + conv("one", "data")
    + layer("BatchNorm", "one", "bn", "", "bn")
    + layer("ReLU", "bn", "bn")
    + layer("Sigmoid", "bn", "bn", "include { stage: 'drop' }")
    + conv("two", "bn", kernel=1)
    + layer("TanH", "data", "late", "include { phase: TRAIN min_level: 2 }")
)


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    pipeline.save(pipeline.load(tmp_path / "net.prototxt", seed=3), tmp_path / "w.caffemodel")
    return tmp_path / "net.prototxt"


READING = {
    "phase": "TRAIN",
    "level": 2,
    "stages": ["drop"],
    "inputs": {"data": (4, 3, 10, 9)},
    "batch": "dynamic",
    "ignore_unknown": ("new",),
    "fork": "segnet",
}
FILLING = {"seed": 5, "rng": "boost-1.55", "slopes": "auto"}
ONNX = {"opset": 19, "blobs": ["one"], "target": "opencv", "fold_batchnorm": True}


@pytest.mark.parametrize(
    ("reading", "filling", "writing"),
    [({}, {}, {}), ({"batch": 5}, {"seed": 9}, {"opset": 20}), (READING, FILLING, {"opset": 19})],
)
@pytest.mark.parametrize("with_weights", [False, True])
def test_convert_is_load_and_to_onnx_is_read_and_fill(
    net, tmp_path, reading, filling, writing, with_weights
):
    file = tmp_path / "w.caffemodel" if with_weights else None
    pipeline.convert(net, file, tmp_path / "whole.onnx", **reading, **filling, **writing)
    loaded = pipeline.load(net, file, **reading, **filling)
    pipeline.to_onnx(loaded, tmp_path / "parts.onnx", **writing)
    whole = (tmp_path / "whole.onnx").read_bytes()
    assert whole == (tmp_path / "parts.onnx").read_bytes()
    graph = pipeline.read(net, file, **reading)
    assert [v.dims for v in graph.values] == [v.dims for v in loaded.graph.values]
    if not with_weights:
        pipeline.to_onnx(pipeline.fill(graph, **filling), tmp_path / "again.onnx", **writing)
        assert whole == (tmp_path / "again.onnx").read_bytes()


def test_packed_options_are_the_keywords(net, tmp_path):
    reading = Reading(**READING | {"stages": ("drop",)})
    stored = weights.read(tmp_path / "w.caffemodel")
    walked = packed.load_net(net, stored, reading, Filling(**FILLING))
    loaded = pipeline.load(net, stored, **READING, **FILLING)
    assert walked.graph.net == loaded.graph.net
    assert [v.dims for v in walked.graph.values] == [v.dims for v in loaded.graph.values]
    np.testing.assert_array_equal(walked.arrays[-2][0], loaded.arrays[-2][0])
    net = pipeline.load(net)
    onnx_options = Onnx(**ONNX | {"blobs": ("one",)})
    assert packed.lower_net(net, onnx_options).model == pipeline.lower(net, **ONNX).model


def test_every_option_has_its_effect(net):
    types = [node.layer.type for node in pipeline.read(net).nodes]
    assert types == ["Input", "Convolution", "BatchNorm", "ReLU", "Convolution"]
    graph = pipeline.read(net, **READING)
    assert [node.layer.type for node in graph.nodes] == [
        "Input",
        "Convolution",
        "BatchNorm",
        "ReLU",
        "Sigmoid",
        "Convolution",
        "TanH",
    ]
    assert graph.inputs[0].dims == (None, 3, 10, 9)
    assert graph.inputs[0].shape == (4, 3, 10, 9)
    names = [node.layer.name for node in pipeline.read(net, splits=True, **READING).nodes]
    assert "data_input_0_split" in names


def test_folding_and_further_passes_come_in_order(net):
    operators = []

    def rename(name):
        def run(lowered: Lowered) -> Lowered:
            operators.append([node.op_type for node in lowered.model.graph.node])
            model = onnx.ModelProto()
            model.CopyFrom(lowered.model)
            model.graph.name += name
            return Lowered(model, lowered.arrays, lowered.changed, lowered.params)

        return run

    loaded = pipeline.load(net)
    lowered = pipeline.lower(loaded, fold_batchnorm=True, passes=[rename("a"), rename("b")])
    assert lowered.model.graph.name == "nab"
    assert operators == [["Conv", "Relu", "Conv"]] * 2
    wider = pipeline.lower(loaded, fold_batchnorm=True, blobs=["one"])
    assert [value.name for value in wider.model.graph.output] == ["two", "one"]
    assert "BatchNormalization" in [n.op_type for n in pipeline.lower(loaded).model.graph.node]


def test_a_pass_that_fails_leaves_the_old_file(net, tmp_path):
    def fail(lowered):
        raise UnsupportedError("not this one")

    (tmp_path / "n.onnx").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UnsupportedError, match="not this one"):
        pipeline.convert(net, None, tmp_path / "n.onnx", passes=[fail])
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "n.onnx").read_bytes() == b"old"


def test_weights_may_be_open_and_tell_the_fork(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('input: "x" input_shape { dim: 2 dim: 3 } ' + layer("BN", "x", "y"))
    segnet = pipeline.load(path, fork="segnet")
    pipeline.save(segnet, tmp_path / "w.caffemodel.h5")
    with pytest.raises(UnsupportedError, match="name the fork") as error:
        pipeline.read(path)
    assert error.value.remedies == ("fork",)
    stored = weights.read(tmp_path / "w.caffemodel.h5")
    assert stored.shapes == {"bn": [(1, 3, 1, 1)] * 2} | {"input": []}
    for file in (stored, tmp_path / "w.caffemodel.h5"):
        assert pipeline.read(path, file).nodes[1].layer.fork == "segnet"
        assert pipeline.load(path, file).graph.nodes[1].layer.fork == "segnet"


def test_unsupported_types_come_before_unknown_fields(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    head = 'input: "x" input_shape { dim: 2 } layer { name: "a" type: "ReLU" bottom: "x" new: 1 '
    path.write_text(head + 'top: "y" } layer { name: "b" type: "Novel" bottom: "y" top: "z" }')
    with pytest.raises(UnsupportedError, match=r"layer 'b' \(Novel\): unknown layer type"):
        pipeline.read(path)
    path.write_text(head + 'top: "y" } layer { name: "t" include { phase: TRAIN } old: 1 }')
    with pytest.raises(ParseError, match="no field 'new'; ignore_unknown="):
        pipeline.read(path)
    assert not caplog.records
    with caplog.at_level(logging.INFO, "caffe_compat"):
        pipeline.read(path, ignore_unknown=("new",))
    assert ["'new'" in r.getMessage() or "'old'" in r.getMessage() for r in caplog.records] == [
        True,
        True,
    ]


def test_what_the_weights_lack_is_logged(net, tmp_path, caplog):
    net.write_text(NET.replace('"two"', '"other"'))
    with caplog.at_level(logging.INFO, "caffe_compat"):
        pipeline.load(net, tmp_path / "w.caffemodel")
    assert [record.getMessage() for record in caplog.records] == [
        f"drawn from their fillers, since they are not in {tmp_path / 'w.caffemodel'}: other",
        f"in {tmp_path / 'w.caffemodel'} and not in the net: two",
    ]


def test_errors_of_the_library_speak_of_arguments(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('layer { name: "d" type: "Data" top: "x" data_param { batch_size: 2 } }')
    with pytest.raises(ShapeError, match=r'inputs=\{"x": ') as error:
        pipeline.read(path)
    assert error.value.remedies == ("inputs", "data")
    assert "--" not in str(error.value)


def test_save_takes_every_suffix(net, tmp_path):
    loaded = pipeline.load(net)
    for name in ("s.caffemodel", "s.caffemodel.h5", "s.prototxt", "s.onnx"):
        pipeline.save(loaded, tmp_path / name)
    again = pipeline.load(tmp_path / "s.prototxt", tmp_path / "s.caffemodel.h5")
    np.testing.assert_array_equal(again.arrays[1][0], loaded.arrays[1][0])
    onnx.checker.check_model(tmp_path / "s.onnx")
    with pytest.raises(CaffeCompatError, match="ends in none of"):
        pipeline.save(loaded, tmp_path / "s.bin")


def test_upgrade_writes_the_current_form(tmp_path):
    old, new = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    old.write_text('layers { name: "r" type: RELU bottom: "x" top: "y" include { phase: TRAIN } }')
    caffe_compat.upgrade(old, new)
    assert 'type: "ReLU"' in new.read_text()
    assert "TRAIN" in new.read_text()
    old.write_text('layers { name: "r" type: RELU novel: 1 }')
    new.unlink()
    with pytest.raises(ParseError, match="'novel'; nothing is written"):
        caffe_compat.upgrade(old, new)
    assert not new.exists()


def test_convert_never_replaces_the_prototxt(net):
    before = net.read_bytes()
    with pytest.raises(CaffeCompatError, match="is an input itself; name another output"):
        pipeline.convert(net, None, net)
    assert net.read_bytes() == before
