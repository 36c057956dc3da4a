"""Changes over a preset, over the prototxt's preprocessing, over nothing."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError
from caffe_compat.images.preprocessing import choose
from caffe_compat.net.preprocess import PRESETS, Preprocess

BASE = Preprocess(crop=(5, 6), mean=(1, 2, 3), scale=0.5)


def test_nothing_known_is_none():
    assert choose() is None
    assert choose(BASE) == BASE


def test_changes_are_over_the_base():
    assert choose(BASE, scale=2, order="rgb") == Preprocess(None, (5, 6), "rgb", 1, (1, 2, 3), 2)
    assert choose(scale=2) == Preprocess(scale=2)


def test_a_preset_replaces_the_base():
    assert choose(BASE, preset="unit") == PRESETS["unit"]
    assert choose(BASE, preset="unit", resize=(7, 8)).resize == (7, 8)
    with pytest.raises(CaffeCompatError, match="preset is 'x'; it is one of imagenet-bgr, "):
        choose(preset="x")


def test_a_mean_file_is_read(tmp_path):
    np.save(tmp_path / "m.npy", np.arange(24).reshape(3, 2, 4))
    chosen = choose(BASE, mean_file=tmp_path / "m.npy")
    np.testing.assert_array_equal(chosen.mean, np.arange(24).reshape(3, 2, 4))
    with pytest.raises(CaffeCompatError, match="mean and mean_file exclude each other"):
        choose(mean=(1,), mean_file=tmp_path / "m.npy")
