"""Arrays of .npy files: what is none is one error."""

from __future__ import annotations

import io

import numpy as np
import pytest

from caffe_compat.errors import ParseError
from caffe_compat.npy import read_array


def npy(shape, descr, data=b""):
    file = io.BytesIO()
    head = {"shape": shape, "descr": descr, "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, head)
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy((1 << 50,), "<f4"), "declares 4,503,599,627,370,496 bytes of numbers, and has 0"),
        (npy((1 << 31,) * 3, "<f4"), "declares [0-9,]* bytes of numbers, and has 0"),
        (npy((3, 2), "<f4", bytes(23)), "declares 24 bytes of numbers, and has 23"),
        (npy((2, True), "<f4", bytes(8)), r"its shape \(2, True\) is none of an array"),
        (npy((0, 2**63), "<f4"), "its shape .* is none of an array"),
        (npy((1,) * 99, "<f4", bytes(4)), "its shape .* is none of an array"),
        (npy((-1, 2), "<f4"), "declares -8 bytes of numbers"),
        (npy((3,), "|O", b"cos\nsystem\n(S'exit 1'\ntR."), "contains object, which are no real"),
        (b"PK\x03\x04", "contains several arrays"),
        (b"\x89PNG\r\n\x1a\n", "not a .npy file but a PNG image"),
        (b"\x93NUMPY", "not a .npy file"),
        (b"\x93NUMPY\x01\x00\x06\x00{'(((\n", "not a .npy file"),
        (b"\x93NUMPY\x01\x00\x04\x00(((\n", "not a .npy file"),
        (b"\x93NUMPY\x03\x00\x05\x00{}\n", "version 3.0"),
        (npy((3, 2), "<c8", bytes(48)), "contains complex64, which are no real numbers"),
        (npy((3,), "<U2", bytes(24)), "contains <U2, which are no real numbers"),
        (b"", "not a .npy file"),
    ],
)
def test_what_is_no_array(tmp_path, data, message):
    path = tmp_path / "x.npy"
    path.write_bytes(data)
    with pytest.raises(ParseError, match=rf"x\.npy: .*({message})"):
        read_array(path)


def test_several_arrays_are_no_array(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2), b=np.ones(3))
    with pytest.raises(ParseError, match=r"x\.npz: contains several arrays"):
        read_array(tmp_path / "x.npz")
