"""Sizes that a file declares are held against the memory before any of it is taken."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from caffe_compat import memory
from caffe_compat.errors import CaffeCompatError
from caffe_compat.layers.families import prior_box
from caffe_compat.memory import available, require
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.opsets import OPSET
from caffe_compat.runtime.sampling import random_feeds
from caffe_compat.runtime.verification import verify

from .cases import make
from .slope_nets import layer


def test_more_than_there_is():
    require(1 << 10, "the blobs")
    with pytest.raises(CaffeCompatError, match=r"the blobs take 1,152,921,504,606,846,976 bytes, "):
        require(1 << 60, "the blobs")


def test_a_system_that_does_not_tell_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "_of_system", lambda: None)
    monkeypatch.setattr(memory, "_CGROUPS", ())
    assert available() is None
    require(1 << 60, "the blobs")


def test_a_container_leaves_less(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 2000\ninactive_file 700\nactive_file 200\n")
    group = str(tmp_path / "memory.max"), str(tmp_path / "memory.current")
    monkeypatch.setattr(memory, "_CGROUPS", (group,))
    assert available() == 2900
    (tmp_path / "memory.max").write_text("max\n")
    assert available() != 2900


TILES = 'input: "x" input_shape { dim: 3 dim: 1000 }' + "".join(
    layer("Tile", f"t{i}" if i else "x", f"t{i + 1}", "tile_param { axis: 1 tiles: 6 }")
    for i in range(7)
)


def test_the_blobs_of_a_pass_are_counted_first(monkeypatch):
    net = make(TILES)
    monkeypatch.setattr(memory, "available", lambda: 4 << 20)
    tracemalloc.start()
    with pytest.raises(CaffeCompatError, match=r"^the net's blobs take 4,031,076,000 bytes, and"):
        net.forward({"x": np.ones((3, 1000), np.float32)})
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_check_counts_before_it_draws_its_inputs(monkeypatch):
    net = make('input: "x" input_shape { dim: 1 dim: 4000000 }' + layer("Power", "x", "y"))
    monkeypatch.setattr(memory, "available", lambda: 4 << 20)
    tracemalloc.start()
    with pytest.raises(CaffeCompatError, match=r"^the net's blobs take 32,000,000 bytes, and"):
        verify(net)
    with pytest.raises(CaffeCompatError, match=r"^the inputs take 16,000,000 bytes, and"):
        random_feeds(net)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


PRIORS = (
    'input: "x" input_shape {{ dim: 1 dim: 1 dim: {} dim: {} }}'
    'layer {{ name: "p" type: "PriorBox" bottom: "x" top: "p" '
    "prior_box_param {{ min_size: 3 max_size: 7 aspect_ratio: 2 img_size: 300 clip: true }} }}"
)


def test_priors_take_the_memory_of_their_blob_and_little_more(monkeypatch):
    monkeypatch.setattr(prior_box, "_PIECE", 1 << 10)
    net = make(PRIORS.format(5000, 7))
    feeds = {"x": np.ones((1, 1, 5000, 7), np.float32)}
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    blob = net.forward(feeds)["p"]
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert blob.nbytes <= peak < 1.2 * blob.nbytes
    monkeypatch.setattr(memory, "available", lambda: blob.nbytes - 1)
    with pytest.raises(CaffeCompatError, match=r"^layer 'p' \(PriorBox\): the priors take "):
        lower(net, OPSET)
