"""Images over Ray: the results of one process, in order, even if a worker dies.

The tests that start a cluster need the extra `ray`, and are slow.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from caffe_compat.converters import cli
from PIL import Image

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.images import ray
from caffe_compat.images.predictor import chunks
from caffe_compat.images.recipe import Recipe
from caffe_compat.net.preprocess import Preprocess

from ..cases import GOLDEN

CIFAR = GOLDEN / "models" / "cifar10_quick"
PREP = Preprocess(mean=(125, 123, 114))


@pytest.fixture
def names(tmp_path):
    """Thirteen image files, one of them damaged."""
    rng = np.random.default_rng(2)
    paths = [tmp_path / f"{i:02d}.png" for i in range(13)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (20 + i, 30, 3), np.uint8)).save(path)
    paths[5].write_bytes(b"none")
    return [str(path) for path in paths]


def recipe(preprocess=PREP):
    net = pipeline.load(CIFAR / "net.prototxt", CIFAR / "weights.caffemodel.h5", batch="dynamic")
    return Recipe(net, preprocess, device="cpu", blobs=("conv1",))


def single(preprocess, parts):
    predictor = recipe(preprocess).predictor()
    return [result for part in parts for result in predictor([(name, None) for name in part])]


def test_a_worker_returns_what_one_process_does(names):
    """In this process: from bytes that were sent, or from a file that the worker reads."""
    net = recipe()
    worker = ray._Worker(ray.replace(net, model=b""), ray._bytes(net))
    sent = [ray._read(name) for name in [*names, "gone.png"]]
    same(worker.run(sent), single(PREP, [[*names, "gone.png"]]))
    assert sent[5][1] == b"none"
    assert sent[-1] == ("gone.png", None)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CaffeCompatError, match=r"pip install 'caffe_compat\[ray\]'"):
        list(ray.run(Recipe(b""), [["a.png"]]))


class Deadly(Preprocess):
    """Ends the worker's process at one picture, the first time."""

    def __call__(self, picture, dims):
        marker = os.environ["CAFFE_COMPAT_TEST_MARKER"]
        if picture.shape[0] == 29 and not os.path.exists(marker):  # noqa: PTH110  travels light
            os.close(os.open(marker, os.O_CREAT))
            os._exit(1)
        return super().__call__(picture, dims)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_returns_the_same_in_order_though_a_worker_dies(names, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    marker = tmp_path / "died"
    monkeypatch.setenv("CAFFE_COMPAT_TEST_MARKER", str(marker))
    parts = chunks(names, 3)
    made = [r for part in ray.run(recipe(Deadly(mean=PREP.mean)), parts, 2) for r in part]
    assert marker.exists()
    same(made, single(PREP, parts))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_error_in_a_worker_is_the_error(names):
    pytest.importorskip("ray")
    with pytest.raises(ShapeError, match="cannot crop 32x32 out of 9x9"):
        list(ray.run(recipe(Preprocess(resize=(9, 9))), chunks(names, 5), 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_command(names, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray")
    said = []
    for engine in ("local", "ray"):
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "caffe-compat",
                "run",
                str(CIFAR / "net.prototxt"),
                "--weights",
                str(CIFAR / "weights.caffemodel.h5"),
                "--image",
                str(tmp_path),
                "--engine",
                engine,
                "--json",
                "--scale",
                "1",
                "--workers",
                "2",
                "--device",
                "cpu",
            ],
        )
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 1  # the one that is no picture
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]


def same(made, want):
    assert [(r.name, r.error, r.size, r.window) for r in made] == [
        (r.name, r.error, r.size, r.window) for r in want
    ]
    for one, other in zip(made, want, strict=True):
        assert list(one.outputs) == list(other.outputs)
        for name, array in one.outputs.items():
            np.testing.assert_array_equal(array, other.outputs[name])
