from __future__ import annotations

import sys

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe

from .nets import LAYERS


@pytest.fixture
def build(tmp_path):
    """A live net of a prototxt's text, its inputs random."""

    def make(text, phase=caffe.TEST, **options):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        net = caffe.Net(str(path), phase, **options)
        rng = np.random.default_rng(0)
        for name in net.inputs:
            net.blobs[name].data[...] = rng.standard_normal(net.blobs[name].data.shape)
        return net

    return make


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    """The name of a module with Python layers, which imports caffe."""
    monkeypatch.setitem(sys.modules, "caffe", caffe)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_layers.py").write_text(LAYERS)
    yield "own_layers"
    sys.modules.pop("own_layers", None)
