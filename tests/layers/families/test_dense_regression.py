"""DenseReg's Python layers, whose numbers are recorded in golden/layers_forks."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import check_both, make, one_layer

PART, MAPS = (1, 1, 2, 3), (1, 3, 2, 3)


def text(module, *shapes):
    body = f'module: "{module}" layer: "CombineRegressionsLayer"'
    return one_layer(f'type: "Python" python_param {{ {body} }}', *shapes, top=["y", "z"])


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("CombineRegressions", [[-1, 0.25, 0.75], [0, 0.5, -1]]),
        ("CombineRegressionsHuman", [[0, 0.5, 0.5], [0, 1, 0]]),
    ],
)
def test_by_hand(module, wanted):
    """The background, whose map counts nowhere; inside of a part, and beyond its ends."""
    part = np.array([[0, 1, 2], [1, 1, 1]], np.float32).reshape(PART)
    rest = np.array([[[9, 9, 9], [9, 9, 9]], [[9, 0.5, 9], [0, 1, -2]], [[9, 9, 0.5], [9, 9, 9]]])
    feeds = {"a": part, "b": part, "c": rest[None].astype(np.float32)}
    feeds["d"] = feeds["c"]
    tops = check_both(text(module, PART, PART, MAPS, MAPS), feeds=feeds)
    for top in tops.values():
        np.testing.assert_allclose(top[0, 0], wanted)


@pytest.mark.parametrize("shapes", [[(2, 1, 2, 3)] * 2 + [(2, 3, 2, 3)] * 2, [PART] * 4])
def test_refused(shapes):
    with pytest.raises(ShapeError, match=r"the parts of one image|two parts or more"):
        make(text("CombineRegressions", *shapes))
