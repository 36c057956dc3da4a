"""The forms that the CPU is faster at give what the operators give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from caffe_compat import Session
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes.cpu import is_slow, tune
from caffe_compat.onnx.reader import outline

from ...cases import assert_close, feed, inline, make

CONV = """layer { name: "conv" type: "Convolution" bottom: "x" top: "x2"
  convolution_param { num_output: %d kernel_size: 3 weight_filler { type: "msra" } } }"""
SLOPE = 'prelu_param { filler { type: "uniform" min: -2 max: 2 } }'


def layer(type, rest, bottom="x"):
    return f'layer {{ name: "y" type: "{type}" bottom: "{bottom}" top: "y" {rest} }}'


CASES = {
    "prelu behind a convolution": CONV % 32 + layer("PReLU", SLOPE, "x2"),
    "prelu of 10 channels": CONV % 10 + layer("PReLU", SLOPE, "x2"),
    "prelu of the input": layer("PReLU", SLOPE),
    "prelu shared": layer("PReLU", "prelu_param { channel_shared: true }"),
    "lrn": layer("LRN", "lrn_param { alpha: 0.5 }"),
    "lrn of beta 0.5": layer("LRN", "lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 2 }"),
    "lrn of beta 1.5": layer("LRN", "lrn_param { local_size: 7 alpha: 2 beta: 1.5 }"),
}


def net_of(text):
    shape = "input_param { shape { dim: 2 dim: 16 dim: 9 dim: 7 } }"
    return make(f'layer {{ name: "x" type: "Input" top: "x" {shape} }}' + text)


def run(model, feeds):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("case", CASES)
def test_tuned_graphs_compute_the_same(case):
    net = net_of(CASES[case])
    model = inline(lower(net))
    feeds = feed(net)
    wanted = run(model, feeds)
    assert is_slow(model)
    tune(model, {})
    assert not is_slow(model)
    onnx.checker.check_model(model, full_check=True)
    assert_close(run(model, feeds), wanted, 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_sessions_of_nets_and_of_files_are_tuned_alike(case, tmp_path):
    net = net_of(CASES[case])
    feeds = feed(net)
    path = tmp_path / "net.onnx"
    model = inline(lower(net))
    path.write_bytes(model.SerializeToString())
    (made,) = Session(path, "cpu").run(feeds).values()
    (other,) = Session(net, "cpu").run(feeds).values()
    np.testing.assert_array_equal(made, other)
    assert_close(made, run(model, feeds), 1e-6)
    assert {node.op_type for node in onnx.load(path).graph.node} & {"PRelu", "LRN"}


def test_prelu_keeps_infinities_and_nans():
    net = net_of(CASES["prelu behind a convolution"])
    weight, bias = net.arrays[1]
    net = replace(net, arrays=((), (np.ones_like(weight), bias), net.arrays[2]))
    feeds = feed(net)
    feeds["x"][0, 0, 4, 4], feeds["x"][1, 1, 4, 4] = np.inf, np.nan
    wanted = net.forward(feeds)["y"]  # onnxruntime 1.23's PRelu makes NaN of an infinity
    assert np.isinf(wanted).any()
    assert np.isnan(wanted).any()
    model = inline(lower(net))
    tune(model, {})
    made = run(model, feeds)
    # inf - inf in the negative part: NaN for NaN, and infinite where it was
    np.testing.assert_array_equal(np.isinf(made), np.isinf(wanted))
    np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))


def test_float16_stays_as_it_is():
    model = inline(lower(net_of(CASES["prelu of the input"])))
    half = onnx.numpy_helper.from_array(np.zeros(2, np.float16), "half")
    model.graph.initializer.append(half)
    before = model.SerializeToString()
    tune(model, {})
    assert model.SerializeToString() == before


@pytest.mark.parametrize("external", [False, True])
def test_an_outline_holds_every_initializer_where_it_lies(external, tmp_path):
    model = inline(lower(net_of(CASES["prelu behind a convolution"])))
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=external, location="net.data", size_threshold=0)
    shell, arrays = outline(path)
    wanted = {t.name: onnx.numpy_helper.to_array(t, str(tmp_path)) for t in model.graph.initializer}
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].base is not None
    assert not shell.graph.initializer
    assert shell.graph.node == model.graph.node
    assert shell.opset_import == model.opset_import


def test_an_outline_reads_nothing_outside_its_folder(tmp_path):
    model = inline(lower(net_of(CASES["prelu of the input"])))
    path = tmp_path / "inner" / "net.onnx"
    path.parent.mkdir()
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    data = path.read_bytes().replace(b"net.data", b"../n.dat")
    (tmp_path / "n.dat").write_bytes((path.parent / "net.data").read_bytes())
    path.write_bytes(data)
    with pytest.raises(ValueError, match="outside its folder"):
        outline(path)
    path.write_bytes(data.replace(b"../n.dat", b"net.data"))
    (path.parent / "net.data").write_bytes(b"short")
    with pytest.raises(ValueError, match="has 5 bytes"):
        outline(path)


def outside(kind):
    """A model one of whose tensors, of some kind, lies in ../n.dat."""
    h, types = onnx.helper, onnx.TensorProto
    w = onnx.TensorProto(
        name="w",
        dims=[3],
        data_type=types.BOOL if kind == "bool" else 1,
        data_location=types.EXTERNAL,
    )
    w.external_data.add(key="location", value="../n.dat")
    x, y = (h.make_tensor_value_info(name, 1, [3]) for name in "xy")
    nodes, held = [h.make_node("Add", ["x", "w"], ["y"])], [w]
    if kind == "bool":
        nodes = [h.make_node("Where", ["w", "x", "x"], ["y"])]
    elif kind == "attribute":
        nodes, held = [h.make_node("Constant", [], ["w"], value=w), *nodes], []
    elif kind == "branch":
        branch = h.make_graph(
            [h.make_node("Add", ["x", "w"], ["z"])],
            "b",
            [],
            [h.make_tensor_value_info("z", 1, None)],
            [w],
        )
        nodes = [h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        held = [onnx.numpy_helper.from_array(np.array(True), "c")]
    elif kind == "behind a damaged one":
        held = [onnx.TensorProto(name="d", dims=[3], data_type=1, raw_data=b"1234"), w]
    graph = h.make_graph(nodes, "g", [x], [y], held)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("blobs", [(), ("y",)])
@pytest.mark.parametrize("kind", ["plain", "bool", "attribute", "branch", "behind a damaged one"])
def test_a_session_reads_nothing_outside_the_models_folder(tmp_path, monkeypatch, kind, blobs):
    path = tmp_path / "inner" / "net.onnx"
    path.parent.mkdir()
    path.write_bytes(outside(kind).SerializeToString())
    (tmp_path / "n.dat").write_bytes(bytes(12))
    monkeypatch.chdir(path.parent)
    with pytest.raises(CaffeCompatError, match=r"outside its folder|has 4 bytes at"):
        Session(path, "cpu", blobs=blobs)


@pytest.mark.parametrize("kind", ["bool", "attribute", "branch"])
def test_other_tensors_are_read_beside_the_model_or_not(tmp_path, monkeypatch, kind):
    """Not from the folder that the program happens to run in."""
    path = tmp_path / "inner" / "net.onnx"
    path.parent.mkdir()
    path.write_bytes(outside(kind).SerializeToString().replace(b"../n.dat", b"./12.dat"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12.dat").write_bytes(bytes(12))
    for blobs in ((), ("y",)):
        with pytest.raises(CaffeCompatError, match=r"12\.dat|lies in another file"):
            Session(path, "cpu", blobs=blobs)


def test_a_model_of_bytes_has_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12.dat").write_bytes(bytes(12))
    data = outside("plain").SerializeToString().replace(b"../n.dat", b"./12.dat")
    with pytest.raises(WeightsError, match="give the path of its file"):
        Session(data, "cpu", blobs=["y"])
