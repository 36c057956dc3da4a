"""ONNX files read without their weights, and without anything outside their folder."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from caffe_compat import Session
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.reader import outline

from ..cases import inline, make

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 5 dim: 9 dim: 7 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "z"
        convolution_param { num_output: 32 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "y" type: "PReLU" bottom: "z" top: "y" }"""


@pytest.mark.parametrize("external", [False, True])
def test_an_outline_holds_every_initializer_where_it_lies(external, tmp_path):
    model = inline(lower(make(NET)))
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


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            b"conv/weight",
            b"conv/w\xffight",
            r"name b'conv/w\\xffight': not UTF-8",
        ),  # an initializer
        (b"Conv", b"Con\x80", r"op_type b'Con\\x80': not UTF-8"),
    ],
)
def test_a_text_that_is_no_utf8(tmp_path, old, new, words):
    path = tmp_path / "net.onnx"
    data = inline(lower(make(NET))).SerializeToString()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(WeightsError, match=words):
        outline(path)


def test_a_type_that_onnx_lacks(tmp_path):
    model = inline(lower(make(NET)))
    model.graph.output[0].type.tensor_type.elem_type = 65
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match="elem_type 65: ONNX has no such type"):
        outline(tmp_path / "net.onnx")
    model = inline(lower(make(NET)))
    model.graph.initializer[0].data_type = 65
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match="data_type 65: ONNX has no such type"):
        outline(tmp_path / "net.onnx")


def test_an_outline_reads_nothing_outside_its_folder(tmp_path):
    model = inline(lower(make(NET)))
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
        with pytest.raises(CaffeCompatError, match=r"12\.dat|is in another file"):
            Session(path, "cpu", blobs=blobs)


def test_a_model_of_bytes_has_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12.dat").write_bytes(bytes(12))
    data = outside("plain").SerializeToString().replace(b"../n.dat", b"./12.dat")
    with pytest.raises(WeightsError, match="give the path of its file"):
        Session(data, "cpu", blobs=["y"])
