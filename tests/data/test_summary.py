"""What is in a database, counted and drawn."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.data.summary import contact_sheet, summarize
from caffe_compat.errors import ParseError

from .cases import DATA, database, datum, pixels

SOURCES = DATA / "sources"


@pytest.mark.parametrize(
    "name, backend, kinds, shapes, labels, boxes",
    [
        ("raw_lmdb", "lmdb", {"bytes": 5}, {(3, 8, 10): 5}, {0: 1, 3: 1, 6: 1, 9: 1, 12: 1}, {}),
        ("float_leveldb", "leveldb", {"floats": 4}, {(2, 5, 4): 4}, dict.fromkeys(range(4), 1), {}),
        ("jpeg_lmdb", "lmdb", {"encoded": 4}, {(17, 19): 4}, dict.fromkeys(range(4), 1), {}),
        (
            "boxes_raw",
            "lmdb",
            {"bytes, with boxes": 3},
            {(3, 14, 12): 3},
            dict.fromkeys(range(3), 1),
            {1: 2, 2: 2},
        ),
    ],
)
def test_counts(name, backend, kinds, shapes, labels, boxes):
    found = summarize(SOURCES / name)
    assert found.backend == backend
    assert (found.kinds, found.shapes, found.labels, found.boxes) == (kinds, shapes, labels, boxes)
    assert found.count == sum(kinds.values())


def test_bad_records_are_counted(tmp_path):
    path = database(tmp_path / "db", [datum(pixels(1)[0], label=None), b"\x08"])
    with pytest.raises(ParseError, match="db: key '00000001': not a Datum"):
        summarize(path)
    found = summarize(path, skip_bad=True)
    assert (found.count, list(found.skipped)) == (2, [f"{path}: key '00000001'"])
    assert found.labels == {None: 1}


def tile(sheet, row, column):
    return sheet[row * 108 : row * 108 + 96, column * 96 : column * 96 + 96]


def test_a_sheet_shows_colors_as_they_are(tmp_path):
    blue = np.zeros((3, 4, 4), np.uint8)
    blue[0] = 255  # BGR
    gray = np.full((1, 4, 4), 77, np.uint8)
    red = np.zeros((3, 4, 8), np.uint8)
    red[2] = 255
    path = database(tmp_path / "db", [datum(blue, 3), datum(gray), datum(red)])
    sheet = contact_sheet(path)
    assert (sheet.shape, sheet.dtype) == ((216, 192, 3), np.uint8)
    assert tile(sheet, 0, 0)[48, 48].tolist() == [0, 0, 255]
    assert tile(sheet, 0, 1)[48, 48].tolist() == [77, 77, 77]
    wide = tile(sheet, 1, 0)
    assert wide[48, 48].tolist() == [255, 0, 0]
    assert wide[10, 48].tolist() == [255, 255, 255]
    assert (sheet[96:108, :96] < 128).any()  # the label
    assert contact_sheet(path, most=1).shape == (108, 96, 3)


@pytest.mark.parametrize("name", ["float_leveldb", "jpeg_lmdb", "gray_lmdb", "boxes_png"])
def test_every_kind_is_drawn(name):
    sheet = contact_sheet(SOURCES / name)
    assert len(np.unique(tile(sheet, 0, 0))) > 8
