"""Files that appear whole or not at all, and files read up to a limit."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import CaffeCompatError, ParseError
from caffe_compat.files import atomic, foreign_format, read_array, read_bytes, writing


def test_atomic_success(tmp_path):
    old_mask = os.umask(0o027)
    try:
        with atomic(tmp_path / "new.onnx") as path:
            assert (path.parent, path.suffix) == (tmp_path, ".onnx")
            path.write_text("new")
    finally:
        os.umask(old_mask)
    assert [p.name for p in tmp_path.iterdir()] == ["new.onnx"]
    assert stat.S_IMODE((tmp_path / "new.onnx").stat().st_mode) == 0o640


def test_atomic_keeps_permissions_and_links(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o604)
    link.symlink_to(real)
    with atomic(link) as path:
        path.write_text("new")
    assert link.is_symlink()
    assert (real.read_text(), stat.S_IMODE(real.stat().st_mode)) == ("new", 0o604)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_failure_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(error), atomic(target) as path:
        path.write_text("half")
        raise error
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "old")]


def test_atomic_errors_name_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(CaffeCompatError) as caught, atomic(tmp_path / "out.h5") as path:
        assert path.name.startswith(".out.")
        raise CaffeCompatError(f"{path}: cannot be written: disk full")
    assert str(caught.value) == f"{tmp_path}/out.h5: cannot be written: disk full"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["open", "chmod", "replace"])
def test_atomic_leaves_nothing_when_a_signal_comes_early_or_late(tmp_path, monkeypatch, place):
    """An interruption right behind any step that touches the temporary file."""
    target = tmp_path / "out"
    target.write_text("old")
    step = getattr(Path, place)

    def interrupted(self, *arguments):
        result = step(self, *arguments)
        if place == "open":
            result.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, place, interrupted)
    with pytest.raises(KeyboardInterrupt), atomic(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_writing_opens_the_file(tmp_path):
    with writing(tmp_path / "out") as file:
        file.write(b"new")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").read_bytes() == b"new"


def test_atomic_refuses(tmp_path):
    with pytest.raises(CaffeCompatError, match="is a directory"), atomic(tmp_path):
        pytest.fail("entered")
    absent = tmp_path / "no" / "out"
    with pytest.raises(CaffeCompatError, match="there is no directory"), atomic(absent):
        pytest.fail("entered")


def test_atomic_never_replaces_a_device():
    with atomic("/dev/null") as path:
        path.write_text("gone")
    assert not path.is_file()


def test_foreign_format():
    assert foreign_format(b"\x89HDF\r\n\x1a\n") == "an HDF5 file"
    assert foreign_format(b"  <HTML><body>") == "an HTML page"
    assert foreign_format(NetParameter(name="n").SerializeToString()) is None


def test_a_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(bytes(3000))
    assert read_bytes(path, 3000) == bytes(3000)
    with pytest.raises(ParseError, match=r"net\.prototxt: larger than 0 MiB"):
        read_bytes(path, 2999)


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
