"""Files that appear whole or not at all, and files read up to a limit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import CaffeCompatError, ParseError
from caffe_compat.files import (
    atomic,
    check_outputs,
    foreign_format,
    make_folder,
    read_bytes,
    writing,
)


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


def test_a_full_disk_is_named_by_the_target():
    """An open file's error names no file."""
    full = pytest.raises(CaffeCompatError, match="/dev/full: cannot be written: No space left")
    with full, atomic("/dev/full") as path, path.open("w") as file:
        file.write("text")


def test_outputs_are_checked_before_the_work(tmp_path):
    read, link = tmp_path / "read", tmp_path / "link"
    read.touch()
    link.symlink_to(read)
    check_outputs([tmp_path / "a", None, "/dev/null", "/dev/null"], [read, None])
    for outputs, says in (
        ([read], "is an input itself"),
        ([link], "is an input itself"),
        ([tmp_path / "a", tmp_path / "." / "a"], "is named for two outputs"),
        ([tmp_path], "is a directory"),
        ([tmp_path / "none" / "a"], "there is no directory"),
    ):
        with pytest.raises(CaffeCompatError, match=says):
            check_outputs(outputs, [read])


def test_a_folder_that_is_a_file(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "c").touch()
    for path in (tmp_path / "c", tmp_path / "c" / "d"):
        with pytest.raises(CaffeCompatError, match="is a file or in one; name a folder"):
            make_folder(path)
