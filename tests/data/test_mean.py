"""compute_image_mean: the same file, byte for byte, as Caffe's tool writes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from caffe_compat.data.imageset import convert_imageset
from caffe_compat.data.mean import compute_image_mean, write_mean
from caffe_compat.errors import ParseError, ShapeError
from caffe_compat.weights import read_mean

from .cases import DATA, IMAGES, database, datum, pixels
from .test_imageset import NAMES, RECORDED, options


@pytest.mark.parametrize("flags", [flags for flags in RECORDED if "mean" in RECORDED[flags]])
def test_the_mean_is_caffes_to_the_bit(tmp_path, flags):
    path = DATA / "sources" / flags
    if "_leveldb" not in flags:
        path = tmp_path / "db"
        convert_imageset(IMAGES, NAMES, path, options(flags))
    write_mean(compute_image_mean(path).image, tmp_path / "mean.binaryproto")
    data = (tmp_path / "mean.binaryproto").read_bytes()
    assert hashlib.sha256(data).hexdigest() == RECORDED[flags]["mean"]


def test_the_mean_by_image_and_by_channel(tmp_path):
    images = pixels(5)
    mean = compute_image_mean(database(tmp_path / "db", map(datum, images)))
    assert mean.records == 5
    np.testing.assert_allclose(mean.image, images.mean(0), rtol=1e-6)
    np.testing.assert_allclose(mean.channels, images.mean((0, 2, 3)), rtol=1e-6)
    write_mean(mean.image, tmp_path / "m")
    np.testing.assert_array_equal(read_mean(tmp_path / "m")[0], mean.image)


def test_an_image_of_another_size(tmp_path):
    values = [datum(pixels(1)[0]), datum(pixels(1, (3, 6, 8))[0])]
    with pytest.raises(ShapeError, match="key '00000001': has 144 values, and the first 126"):
        compute_image_mean(database(tmp_path / "db", values))


def test_a_bad_record(tmp_path):
    images = pixels(3)
    path = database(tmp_path / "db", [datum(images[0]), b"\x08", datum(images[2])])
    with pytest.raises(ParseError, match="db: key '00000001': not a Datum"):
        compute_image_mean(path)
    mean = compute_image_mean(path, skip_bad=True)
    assert list(mean.skipped) == [f"{path}: key '00000001'"]
    np.testing.assert_allclose(mean.image, images[[0, 2]].mean(0), rtol=1e-6)
    with pytest.raises(ParseError, match="none of its records can be read"):
        compute_image_mean(database(tmp_path / "none", [b"\x08"]), skip_bad=True)
