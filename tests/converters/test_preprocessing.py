"""The preprocessing options, over the prototxt's own."""

from __future__ import annotations

import pytest
from caffe_compat.converters.preprocessing import Options, Preset

from caffe_compat import load
from caffe_compat.net.preprocess import PRESETS, Preprocess

NET = """
layer { name: "d" type: "Data" top: "x" transform_param { scale: 0.5 crop_size: 4 mean_value: 9 }
  data_param { batch_size: 1 } }
layer { name: "r" type: "ReLU" bottom: "x" top: "y" }
"""


def test_options_change_what_the_prototxt_has(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    net = load(path, inputs={"x": (1, 3, 4, 4)})
    assert Options().choose(net, path) == Preprocess(crop=(4, 4), mean=(9,), scale=0.5)
    chosen = Options(mean=(1, 2, 3), bgr=False, resize=(8, 9)).choose(net, path)
    assert chosen == Preprocess((8, 9), (4, 4), "rgb", 1, (1, 2, 3), 0.5)
    assert Options(preset=Preset("unit")).choose(net, path) == PRESETS["unit"]


def test_without_a_net_only_options_count():
    assert Options().choose(None, "n.onnx") is None
    assert Options(scale=2).choose(None, "n.onnx") == Preprocess(scale=2)
    assert not Options().used
    assert Options(bgr=False).used


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mean", "a,b", "is not numbers with commas"),
        ("--resize", "0x3", "is neither a size"),
        ("--crop", "3x4x5", "is neither a size"),
        ("--preset", "x", "is not one of"),
    ],
)
def test_misuse(run, net, option, value, message):
    status, _, err = run("convert", net, "-o", "n.onnx", "--bake-preprocess", option, value)
    assert status == 2
    assert message in " ".join(err.split())
