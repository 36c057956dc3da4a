"""Values around images, and runs of images."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.layers import padding


@pytest.mark.parametrize(
    ("before", "behind"), [((1, 0), (2, 3)), ((0, 2), (0, 0)), ((0, 0), (0, 1))]
)
def test_pad_is_as_numpy_pads(before, behind):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    padded = padding.pad(x, before, behind, -7)
    pads = ((0, 0), (0, 0), *zip(before, behind, strict=True))
    np.testing.assert_array_equal(padded, np.pad(x, pads, constant_values=-7))
    np.testing.assert_array_equal(padding.inside(padded, before, (4, 5)), x)


def test_without_a_pad_the_images_themselves():
    x = np.ones((2, 3, 4, 5), np.float32)
    assert padding.pad(x, (0, 0), (0, 0)) is x


def test_runs_cover_all_images(monkeypatch):
    monkeypatch.setattr(padding, "_ELEMENTS", 20)
    for count, elements in [(7, 6), (3, 40), (4, 5), (0, 3), (5, 0)]:
        covered = [i for run in padding.runs(count, elements) for i in range(count)[run]]
        assert covered == list(range(count))
    assert [len(range(7)[run]) for run in padding.runs(7, 6)] == [3, 3, 1]
