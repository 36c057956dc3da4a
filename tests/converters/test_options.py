"""Options that several subcommands take: sizes, and layers of your own."""

from __future__ import annotations

import onnx
import pytest

from .models import NET, error


def test_batch_and_input(run, net, tmp_path):
    def dims(*options):
        assert run("convert", net, "-o", tmp_path / "n.onnx", *options)[0] == 0
        (data,) = onnx.load(tmp_path / "n.onnx").graph.input
        return [d.dim_param or d.dim_value for d in data.type.tensor_type.shape.dim]

    assert dims() == [2, 3, 8, 9]
    assert dims("--batch", 7) == [7, 3, 8, 9]
    assert dims("--batch", "dynamic") == ["batch", 3, 8, 9]
    assert dims("--input", "data=1x3x12x11") == [1, 3, 12, 11]
    assert "'nothing'" in error(run("convert", net, "-o", "n.onnx", "--input", "nothing=1x2"))
    assert "axis 2" in error(run("convert", net, "-o", "n.onnx", "--input", "data=2x3x?x9"))


@pytest.mark.parametrize("dims", ["0x3", "-1x3", "1_0x3", "１x3", "²x3", "1e3", "1x", "9" * 30])
def test_sizes_that_are_none(run, net, dims):
    assert run("show", net, "--input", f"data={dims}")[0] == 2


CUSTOM = """
import caffe_compat
@caffe_compat.register(module="mine", layer="Twice")
class Twice(caffe_compat.Layer):
    def forward(self, x):
        return 2 * x
    def lower(self, g, x):
        return g.Add(x, x)
"""


def test_custom_layer(run, net, tmp_path):
    (tmp_path / "mine.py").write_text(CUSTOM)
    python = 'type: "Python" python_param { module: "mine" layer: "Twice" }'
    net.write_text(NET.replace('type: "Softmax"', python))
    custom = ("--custom", tmp_path / "mine.py")
    status, out, _ = run("convert", net, "-o", tmp_path / "n.onnx", "--verify", *custom)
    assert status == 0
    assert "verified" in out
    (tmp_path / "mine.py").write_text("1 / 0")
    assert "mine.py: ZeroDivisionError" in error(run("show", net, *custom))
