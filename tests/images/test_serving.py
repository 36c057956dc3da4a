"""The code that docs/serving.md shows, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe_compat import pipeline
from caffe_compat.net.preprocess import Preprocess
from caffe_compat.onnx import writer
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes.bake import bake

from ..cases import GOLDEN

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def shown(word):
    """The blocks of Python on the page up to the first that holds the word, as one program."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    last = next(i for i, block in enumerate(blocks) if word in block)
    return "\n".join(blocks[: last + 1])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files that the page speaks of."""
    cifar = GOLDEN / "models" / "cifar10_quick"
    net = pipeline.load(cifar / "net.prototxt", cifar / "weights.caffemodel.h5", batch="dynamic")
    writer.save(bake(lower(net), Preprocess(mean=(125, 123, 114))), tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("cat.png", "photos/a.png", "photos/b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sessions(here):
    names = {}
    exec(compile(shown("pool3"), str(PAGE), "exec"), names)
    assert names["prob"].shape == (1, 10)
    assert names["features"].shape == (1, 64, 4, 4)
    np.testing.assert_array_equal(names["outputs"]["prob"], names["prob"])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_data(here, capsys):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    program = shown("map_batches").replace('"net.onnx"', repr(str(here / "net.onnx")))
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        exec(compile(program, str(PAGE), "exec"), {"__name__": "shown"})
    finally:
        ray.shutdown()
    lines = capsys.readouterr().out.splitlines()
    assert sorted(Path(line.split()[0]).name for line in lines if ".png" in line) == [
        "a.png",
        "b.png",
    ]
