"""A small net, and images for a classifier, for the tests of the command line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from caffe_compat import pipeline
from caffe_compat.runtime.session import Session

from .models import CONVERT, LABELS, NET


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three images and a file of labels."""
    rng = np.random.default_rng(11)
    for name, size in (("a.png", (40, 30, 3)), ("b.png", (32, 32, 3)), ("c.png", (70, 90))):
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / name)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n\n")
    return tmp_path


@pytest.fixture(scope="session")
def session():
    """The classifier, with two more of its blobs."""
    return Session(pipeline.load(*CONVERT, batch="dynamic"), "cpu", blobs=["conv1", "pool3"])
