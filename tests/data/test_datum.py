"""Datums: read as Caffe reads them, refused where they hold less than they declare."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import Datum
from caffe_compat.data.datum import name_of, of_pixels, parse, read
from caffe_compat.errors import ParseError


def test_bytes_floats_and_files():
    found = read(Datum(channels=2, height=1, width=3, data=bytes(range(250, 256)), label=-7), "x")
    assert (found.pixels.dtype, found.label) == (np.uint8, -7)
    np.testing.assert_array_equal(found.pixels, [[[250, 251, 252]], [[253, 254, 255]]])
    found = read(Datum(channels=1, height=1, width=2, float_data=[0.1, -2]), "x")
    np.testing.assert_array_equal(found.pixels, np.float32([[[0.1, -2]]]))
    found = read(Datum(encoded=True, data=b"file", channels=9), "x")
    assert (found.pixels, found.encoded, found.label) == (None, b"file", 0)


def test_bytes_come_before_floats_and_more_than_declared_is_left():
    datum = Datum(channels=1, height=1, width=2, data=b"\1\2\3", float_data=[9, 9])
    np.testing.assert_array_equal(read(datum, "x").pixels, [[[1, 2]]])


@pytest.mark.parametrize(
    "datum, says",
    [
        (Datum(channels=3, height=2, width=2, data=bytes(11)), "3x2x2 = 12 values and holds 11"),
        (Datum(channels=1, height=2, width=2, float_data=[1]), "1x2x2 = 4 values and holds 1"),
        (Datum(channels=2**31 - 1, height=2**31 - 1, width=9, data=b"1"), "values and holds 1"),
        (Datum(channels=1, height=2, width=2), "1x2x2 = 4 values and holds 0"),
        (Datum(data=b"abc"), "declares an image of 0x0x0"),
        (Datum(channels=1, height=-2, width=-2, data=bytes(4)), "declares an image of 1x-2x-2"),
    ],
)
def test_less_than_declared(datum, says):
    with pytest.raises(ParseError, match=f"db: key 'k': .*{says}"):
        read(datum, name_of("db", b"k"))


def test_what_is_no_datum():
    with pytest.raises(ParseError, match=r"db: key '\\xff': not a Datum"):
        parse(b"\x08", name_of("db", b"\xff"))


def test_pixels_become_a_datum_as_caffe_writes_it():
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    datum = of_pixels(image, 4)
    assert datum.SerializeToString() == bytes.fromhex("0801 1002 1803 2206 000102030405 2804 3800")
    assert list(of_pixels(image / np.float32(2)).float_data) == [0, 0.5, 1, 1.5, 2, 2.5]
