"""Weights and feature maps as tiles, and slopes as dots."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.images.tiles import show_filters, show_maps, show_slopes, write_png


def unzoomed(picture, height, width):
    factor = picture.shape[0] // height
    assert picture.shape == (factor * height, factor * width, 3)
    return picture[::factor, ::factor]


def test_filters_on_three_channels_are_in_colour():
    weight = np.zeros((5, 3, 2, 3), np.float32)
    weight[1, 2] = 1  # of BGR the red one
    tiles = unzoomed(show_filters(weight), 2 * 3 + 1, 3 * 4 + 1)
    assert (tiles[1:3, 5:8] == (255, 0, 0)).all()
    assert (tiles[1:3, 1:4] == 0).all()
    assert (tiles[0] == 255).all()
    assert (unzoomed(show_filters(weight, "rgb"), 7, 13)[1:3, 5:8] == (0, 0, 255)).all()


def test_other_filters_have_a_row_for_each_output():
    weight = np.arange(2 * 4 * 3 * 2, dtype=np.float32).reshape(2, 4, 3, 2)
    tiles = unzoomed(show_filters(weight), 2 * 4 + 1, 4 * 3 + 1)
    assert (tiles[1, 1], tiles[7, 11]) == (pytest.approx(0), pytest.approx(255))
    assert (tiles[..., 0] == tiles[..., 2]).all()


def test_maps_and_values_that_are_not_finite():
    blob = np.array([[[1.0, np.nan]], [[3.0, np.inf]], [[2.0, 1.0]]], np.float32)
    tiles = unzoomed(show_maps(blob), 2 * 2 + 1, 2 * 3 + 1)
    assert tiles[1, 2, 0] == 0
    assert tiles[1, 4, 0] == 255


def test_what_is_no_picture_is_refused():
    with pytest.raises(ShapeError, match="4 axes"):
        show_filters(np.ones((3, 4), np.float32))
    with pytest.raises(ShapeError, match="3 axes"):
        show_maps(np.ones((3, 4), np.float32))
    with pytest.raises(ShapeError, match="8192 tiles"):
        show_filters(np.ones((64, 128, 3, 2), np.float32))
    with pytest.raises(ShapeError, match="no PReLU"):
        show_slopes([])


def test_slopes_stand_at_their_height(tmp_path):
    picture = show_slopes([("a", np.full(4, 0.25, np.float32)), ("b", np.array([-1.0, 1.0]))])
    dots = np.all(picture == (0x00, 0x72, 0xB2), axis=2)
    first, second = dots[:, 60:124], dots[:, 132:196]
    rows = np.flatnonzero(first.any(axis=1))
    assert rows.max() - rows.min() <= 6  # all at one height
    apart = np.flatnonzero(second.any(axis=1))
    assert apart.min() < rows.min() < rows.max() < apart.max()
    write_png(tmp_path / "s.png", picture)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
