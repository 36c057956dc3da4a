"""PriorBox with synopsys-caffe's fields, beside SSD's PriorBox."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import UnsupportedError

from ...cases import check_both, check_varying, make
from .test_prior_box import prior_box

SIZES = "min_size: 60 max_size: 70 min_size: 20 max_size: 45 aspect_ratio: 2 "


@pytest.mark.parametrize("fields", ["tf: true", "yx_order: true", "tf: true yx_order: true"])
@pytest.mark.parametrize("clip", ["", "clip: true"])
def test_as_ssds_in_another_order(fields, clip):
    plain = check_both(prior_box(SIZES))["y"].reshape(2, -1, 2, 4, 4)
    want = plain.astype(np.float64)  # row, cell, min_size, box, corner
    if "tf" in fields:
        want[0, :, 0, 0] += [0.05, 0.05, -0.05, -0.05]
        want = want[:, :, :, [0, 2, 3, 1]]
    if "yx" in fields:
        want[0] = want[0][..., [1, 0, 3, 2]]
    if clip:
        want[0] = np.clip(want[0], 0, 1)
    got = check_both(prior_box(f"{SIZES} {fields} {clip}"))["y"]
    np.testing.assert_allclose(got, want.reshape(1, 2, -1), atol=1e-6)


def test_of_any_size():
    text = prior_box(SIZES + "tf: true yx_order: true")
    open_sizes = {"f": (2, 3, None, None), "d": (2, 3, None, None)}
    sizes = {"f": (2, 3, 3, 5), "d": (2, 3, 70, 80)}
    check_varying(text, open_sizes, [sizes])


def test_refused():
    with pytest.raises(UnsupportedError, match="another fork's field"):
        make(prior_box(SIZES + "tf: true denser_prior_boxes: true"))
