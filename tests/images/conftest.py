"""A classifier and image files for the tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from caffe_compat import pipeline

from ..cases import GOLDEN

CIFAR = GOLDEN / "models" / "cifar10_quick"


@pytest.fixture(scope="session")
def classifier():
    """A net for images of 32x32, in batches of any size."""
    return pipeline.load(CIFAR / "net.prototxt", CIFAR / "weights.caffemodel.h5", batch="dynamic")


@pytest.fixture
def images(tmp_path):
    """Seven image files of different sizes, one of them damaged."""
    rng = np.random.default_rng(2)
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (20 + i, 30, 3), np.uint8)).save(path)
    paths[4].write_bytes(b"damaged")
    return [str(path) for path in paths]
