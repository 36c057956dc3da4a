"""Boxes drawn onto images, and the files they go to."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from caffe_compat.errors import CaffeCompatError
from caffe_compat.images import reader
from caffe_compat.images.decode import Detection
from caffe_compat.images.drawing import Drawings, draw

GREY = np.full((60, 80, 3), 99, np.uint8)


def test_a_box_is_drawn_around_its_inside():
    copy = draw(GREY, [Detection(3, "x", 0.5, (20, 30, 50, 55))])
    changed = (copy != GREY).any(axis=2)
    assert changed[30:56, [20, 50]].all()
    assert changed[[30, 55], 20:51].all()
    assert not changed[48:55, 30:50].any()  # below the label
    assert not changed[:, 60:].any()


def test_the_higher_score_is_on_top():
    first, second = (Detection(index, "", 0.5, (5, 40, 70, 55)) for index in (0, 1))
    both, alone = draw(GREY, [first, second]), draw(GREY, [first])
    np.testing.assert_array_equal(both[50, 5], alone[50, 5])


@pytest.mark.parametrize("box", [(-50, -9, 1e9, 3), (70, 50, 20, 10), (np.nan, 5, np.nan, 20)])
def test_any_box_is_brought_inside(box):
    assert draw(GREY, [Detection(0, None, 1, box)]).shape == GREY.shape


def test_files_of_one_name_get_different_ones(tmp_path):
    for name in ("a/x.png", "b/x.jpg"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(GREY).save(tmp_path / name)
    drawings = Drawings(tmp_path / "out")
    written = [drawings.add(tmp_path / name, []) for name in ("a/x.png", "b/x.jpg")]
    assert written == [tmp_path / "out" / "x.png", tmp_path / "out" / "x_.png"]
    np.testing.assert_array_equal(reader.read(written[0]), GREY)


def test_the_image_itself_is_never_replaced(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(GREY).save(path)
    before = path.read_bytes()
    with pytest.raises(CaffeCompatError, match="is the image itself"):
        Drawings(tmp_path).add(path, [Detection(0, None, 1, (0, 0, 9, 9))])
    assert path.read_bytes() == before
