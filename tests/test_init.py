"""The public names: listed, importable, and all that one needs to write a layer."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import caffe_compat


def test_every_public_name_is_listed_and_there():
    assert {*caffe_compat.__all__} == {*caffe_compat._HOME, *caffe_compat._MODULES}
    for name in dir(caffe_compat):
        if str(caffe_compat._HOME.get(name, "")).find("torch") >= 0 and not find_spec("torch"):
            with pytest.raises(caffe_compat.CaffeCompatError, match="PyTorch is not installed"):
                getattr(caffe_compat, name)
        else:
            assert getattr(caffe_compat, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = caffe_compat.nothing


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(caffe_compat.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(typed) | {"__version__"} == set(dir(caffe_compat))
    homes = {name: home for name, home in typed.items() if home[0]}
    assert homes == caffe_compat._HOME


def test_importing_the_package_loads_nothing_else():
    code = (
        "import sys, caffe_compat; print(*(m for m in sys.modules if 'numpy' in m or 'onnx' in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_a_layer_needs_public_names_alone(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        'input: "x" input_shape { dim: 2 dim: 3 }\n'
        'layer { name: "l" type: "Python" bottom: "x" top: "y"'
        ' python_param { module: "mine" layer: "Shift" } }'
    )

    @caffe_compat.register(module="mine", layer="Shift", bottoms=1, tops=1)
    class Shift(caffe_compat.Layer):
        """Add a parameter."""

        def blobs(self, x: caffe_compat.Shape) -> list[caffe_compat.Blob]:
            return [caffe_compat.Blob("shift", x[1:])]

        def forward(self, x: caffe_compat.Array, shift: caffe_compat.Array) -> caffe_compat.Array:
            return x + shift

        def lower(self, g: caffe_compat.Builder, x: str, shift: str) -> str:
            return g.Add(x, shift)

    graph = caffe_compat.read(tmp_path / "net.prototxt")
    net = caffe_compat.fill(graph)
    assert net.params["l"]["shift"].shape == (3,)
    lowered = caffe_compat.lower(net)
    assert [node.op_type for node in lowered.model.graph.node] == ["Add"]
