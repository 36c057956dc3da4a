"""Mapped files: where arrays lie in them, and changes that are noticed."""

from __future__ import annotations

import os

import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.errors import WeightsError
from caffe_compat.weights import mapped

from ..wireformat import net, packed, shape
from .test_caffemodel import CAFFEMODELS, only_blob


@pytest.mark.parametrize("path", CAFFEMODELS, ids=lambda path: path.parent.name)
def test_locations_are_the_bytes_in_the_file(path):
    data = path.read_bytes()
    opened = weights.read(path)
    half = "finemapping" in str(path)  # its half precision is converted, so it lies nowhere
    for layer in opened.layers:
        for blob in layer.blobs:
            where = weights.location(blob.array.reshape(-1)[:].reshape(1, -1))
            assert (where is None) == half
            if where:
                source, offset, nbytes = where
                assert source == path
                assert data[offset : offset + nbytes] == blob.array.tobytes()


def test_what_does_not_lie_in_one_piece_has_no_location(read):
    array = only_blob(read(net(shape(2, 3) + packed(5, *range(6))))).array
    path, offset, nbytes = weights.location(array)
    assert nbytes == 24
    assert weights.location(array[1]) == (path, offset + 12, 12)
    assert weights.location(array.T) is None
    assert weights.location(array + 0) is None
    assert weights.location(array.astype("f8")) is None
    assert weights.location(np.zeros(3, "f4")) is None


@pytest.mark.parametrize("name", ["missing.caffemodel", "null\0.caffemodel", "."])
def test_what_cannot_be_opened(tmp_path, name):
    with pytest.raises(WeightsError, match=r"Could not open file|not an ordinary file"):
        weights.read(f"{tmp_path}/{name}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(WeightsError, match="not an ordinary file"):
        weights.read(tmp_path / "fifo")


def test_a_file_cut_or_changed_after_opening_is_noticed(tmp_path, read):
    data = net(shape(2) + packed(5, 1, 2))
    opened = read(data)
    opened.check()
    os.truncate(opened.path, 5)
    with pytest.raises(WeightsError, match=rf"changed since .* \({len(data)} bytes then, 5 now"):
        opened.check()
    with pytest.raises(WeightsError, match="changed since"):
        weights.match(opened, [("conv1", [("weight", (2,))])])

    opened = read(data)
    os.utime(opened.path, ns=(1, 1))
    with pytest.raises(WeightsError, match="changed since"):
        opened.check()


def test_a_replaced_file_keeps_its_data_and_has_no_location_any_more(read):
    opened = read(net(shape(2) + packed(5, 1, 2)))
    opened.path.with_name("new").write_bytes(b"something else")
    opened.path.with_name("new").replace(opened.path)
    opened.check()
    array = only_blob(opened).array
    assert array.tolist() == [1, 2]
    with pytest.raises(WeightsError, match="replaced or removed"):
        weights.location(array)


def test_numbers_go_from_file_to_file(tmp_path, read):
    """Views of a file, contiguous or not, and arrays of another byte order."""
    array = only_blob(read(net(shape(2, 3) + packed(5, *range(6))))).array
    for source in (array, array.T, array[:0], array.astype(">f4"), np.float32(7)):
        with (tmp_path / "out").open("wb") as out:
            mapped.write(out, np.asarray(source))
        assert (tmp_path / "out").read_bytes() == np.asarray(source, "<f4").tobytes()


def test_a_file_that_changes_while_it_is_copied(tmp_path, read):
    opened = read(net(shape(2) + packed(5, 1, 2)))
    array = only_blob(opened).array
    os.truncate(opened.path, 8)
    with (tmp_path / "out").open("wb") as out, pytest.raises(WeightsError, match="changed since"):
        mapped.write(out, array)
