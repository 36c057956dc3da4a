"""convert_imageset: record for record what Caffe's tool writes, and refused where that aborts."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from caffe_compat.data.database import records
from caffe_compat.data.datum import parse
from caffe_compat.data.imageset import Converted, ImageOptions, convert_imageset
from caffe_compat.data.streams import Engine
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError

from .cases import DATA, IMAGES

NAMES = DATA / "sources" / "names.txt"
RECORDED = json.loads((DATA / "tools.json").read_text())


def options(flags):
    words = [word[2:].partition("=") for word in flags.split()]
    kinds = {"resize_height": int, "resize_width": int}
    return ImageOptions(
        **{name: kinds.get(name, str)(value) if sign else True for name, sign, value in words}
    )


def digest(path):
    found = hashlib.sha256()
    for key, value in records(path):
        for part in (key, bytes(value)):
            found.update(len(part).to_bytes(4, "little") + part)
    return found.hexdigest()


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
@pytest.mark.parametrize("flags", [flags for flags in RECORDED if "_leveldb" not in flags])
def test_records_are_caffes_own(tmp_path, flags, backend):
    done = convert_imageset(IMAGES, NAMES, tmp_path / "db", options(flags), backend=backend)
    assert done == Converted(8, 0)
    assert digest(tmp_path / "db") == RECORDED[flags]["records"]


@pytest.mark.parametrize("root", [f"{IMAGES}/", str(IMAGES), f"{IMAGES}/../images"])
def test_the_root_may_end_in_a_slash(tmp_path, root):
    convert_imageset(root, NAMES, tmp_path / "db")
    assert digest(tmp_path / "db") == RECORDED[""]["records"]


def test_a_shuffle_is_caffes_at_a_seed(tmp_path):
    convert_imageset(IMAGES, NAMES, tmp_path / "db", shuffle=True, seed=12)
    names = [key.decode().partition("_")[2] for key, _ in records(tmp_path / "db")]
    lines = [line.rpartition(" ")[0] for line in NAMES.read_text().splitlines()]
    assert names == [lines[i] for i in Engine(12).shuffle(np.arange(8))]
    assert names != lines


@pytest.fixture
def broken(tmp_path):
    """A list whose second image is missing and whose third is cut short."""
    (tmp_path / "cut.png").write_bytes((IMAGES / "a.png").read_bytes()[:90])
    list_file = tmp_path / "list.txt"
    list_file.write_text(f"{IMAGES}/a.png 1\ngone.png 2\n{tmp_path}/cut.png 3\n{IMAGES}/b.jpg 4\n")
    return list_file


def test_an_image_that_cannot_be_read(broken, tmp_path, caplog):
    with pytest.raises(ParseError, match=r"list.txt: line 2: .*gone.png: no such file"):
        convert_imageset("", broken, tmp_path / "db")
    assert not (tmp_path / "db").exists()
    assert convert_imageset("", broken, tmp_path / "db", skip_bad=True) == Converted(2, 2)
    found = [(key[:8], parse(value, "x").label) for key, value in records(tmp_path / "db")]
    assert found == [(b"00000000", 1), (b"00000003", 4)]
    assert "skipped: " in caplog.text
    assert r"line 3: a PNG that is cut short" in caplog.text


def test_sizes_are_checked_if_asked(tmp_path):
    with pytest.raises(ShapeError, match=r"names.txt: line 2: is \(14, 18, 3\), and the first"):
        convert_imageset(IMAGES, NAMES, tmp_path / "db", ImageOptions(check_size=True))
    assert list(tmp_path.iterdir()) == []
    same = ImageOptions(check_size=True, resize_height=5, resize_width=4)
    assert convert_imageset(IMAGES, NAMES, tmp_path / "db", same).count == 8


def test_a_database_is_never_overwritten(tmp_path):
    (tmp_path / "db").mkdir()
    with pytest.raises(CaffeCompatError, match="db: exists; a database is never overwritten"):
        convert_imageset(IMAGES, NAMES, tmp_path / "db")


def test_a_format_that_opencv_lacks(tmp_path):
    with pytest.raises(ParseError, match=r"names.txt: line 1: OpenCV cannot encode it as '.doc'"):
        convert_imageset(IMAGES, NAMES, tmp_path / "db", ImageOptions(encode_type="doc"))
