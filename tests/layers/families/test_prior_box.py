"""PriorBox."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError

from ...cases import assert_close, check_both, check_varying, make, one_layer, operators


def blob(name, *dims):
    sizes = " ".join(f"dim: {n}" for n in dims)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {sizes} }} }} }}\n"
    )


def layer(kind, bottoms, body, name="l", top="y"):
    names = " ".join(f'bottom: "{b}"' for b in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {names} top: "{top}" {body} }}\n'


def prior_box(body, cells=(2, 3, 4, 6), picture=(2, 3, 50, 90)):
    return (
        blob("f", *cells)
        + blob("d", *picture)
        + layer("PriorBox", "fd", f"prior_box_param {{ {body} }}")
    )


def expected_priors(cells, picture, step, offset, sizes, clip):
    """Every corner by its definition, one at a time."""
    rows = []
    for h in range(cells[0]):
        for w in range(cells[1]):
            x, y = (w + offset) * step[1], (h + offset) * step[0]
            for width, height in sizes:
                box = [
                    (x - width / 2) / picture[1],
                    (y - height / 2) / picture[0],
                    (x + width / 2) / picture[1],
                    (y + height / 2) / picture[0],
                ]
                rows += [min(max(v, 0), 1) for v in box] if clip else box
    return np.array(rows)


PRIORS = [
    # what, sizes of the boxes at a cell, steps, offset, picture
    ("min_size: 20", [(20, 20)], (12.5, 15), 0.5, (50, 90)),
    ("min_size: 20.9", [(20, 20)], (12.5, 15), 0.5, (50, 90)),  # cut to whole pixels
    ("min_size: 20 max_size: 45 clip: true", [(20, 20), (30, 30)], (12.5, 15), 0.5, (50, 90)),
    (
        "min_size: 20 aspect_ratio: 4 aspect_ratio: 1 aspect_ratio: 4",
        [(20, 20), (40, 10), (10, 40)],
        (12.5, 15),
        0.5,
        (50, 90),
    ),
    ("min_size: 20 aspect_ratio: 4 flip: false", [(20, 20), (40, 10)], (12.5, 15), 0.5, (50, 90)),
    (
        "min_size: 2 min_size: 8 max_size: 8 max_size: 18 aspect_ratio: 4 flip: false",
        [(2, 2), (4, 4), (4, 1), (8, 8), (12, 12), (16, 4)],
        (12.5, 15),
        0.5,
        (50, 90),
    ),
    ("min_size: 20 step: 8 offset: 0.25", [(20, 20)], (8, 8), 0.25, (50, 90)),
    ("min_size: 20 step_h: 8 step_w: 3 offset: 0", [(20, 20)], (8, 3), 0, (50, 90)),
    ("min_size: 20 img_size: 40", [(20, 20)], (10, 40 / 6), 0.5, (40, 40)),
    ("min_size: 20 img_h: 40 img_w: 60 step: 10", [(20, 20)], (10, 10), 0.5, (40, 60)),
]


@pytest.mark.parametrize(("body", "sizes", "step", "offset", "picture"), PRIORS)
def test_priors(body, sizes, step, offset, picture):
    made = check_both(prior_box(body))["y"]
    want = expected_priors((4, 6), picture, step, offset, sizes, "clip: true" in body)
    assert_close(made[0, 0], want.astype(np.float32), 1e-6)
    assert np.array_equal(made[0, 1], np.full(want.size, 0.1, np.float32))


@pytest.mark.parametrize("body", [case[0] for case in PRIORS])
def test_priors_fold_unless_the_map_varies(body):
    # A net must have a node for its output; the priors themselves are a constant.
    assert operators(prior_box(body)) == ["Identity"]
    batch = {"f": (None, 3, 4, 6), "d": (None, 3, 50, 90)}
    assert operators(prior_box(body), inputs=batch) == ["Identity"]
    open_ = {"f": (None, 3, None, None), "d": (None, 3, None, None)}
    others = [{"f": (1, 3, 4, 6), "d": (1, 3, 50, 90)}, {"f": (2, 3, 7, 5), "d": (2, 3, 31, 77)}]
    check_varying(prior_box(body), open_, others)


def test_four_variances():
    body = "min_size: 20 aspect_ratio: 2 variance: 1 variance: 2 variance: 3 variance: 4"
    made = check_both(prior_box(body))["y"]
    assert np.array_equal(made[0, 1], np.tile(np.float32([1, 2, 3, 4]), 4 * 6 * 3))
    open_ = {"f": (2, 3, 4, None), "d": (2, 3, 50, 90)}
    check_varying(prior_box(body), open_, [{"f": (2, 3, 4, 9), "d": (2, 3, 50, 90)}])


def test_priors_without_a_picture():
    text = blob("f", 2, 3, 4, 6)
    made = check_both(text + layer("PriorBox", "f", "prior_box_param { min_size: 9 img_size: 70 }"))
    assert made["y"].shape == (1, 2, 96)
    with pytest.raises(ShapeError, match="needs the image as a second bottom, or img_size"):
        make(text + layer("PriorBox", "f", "prior_box_param { min_size: 9 }"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "must provide min_size"),
        ("min_size: 0", "min_size must be positive, and is 0"),
        ("min_size: inf", "must be below 2^31, and one is inf"),
        ("min_size: 20 max_size: 20", "max_size 20 must be greater than min_size 20"),
        ("min_size: 2 min_size: 3 max_size: 9", "gives 2 min_size and 1 max_size"),
        ("min_size: 2 aspect_ratio: 0", "aspect_ratio must be positive, and is 0"),
        ("min_size: 2 variance: 1 variance: 2", "variance is given 2 times; once or 4 times"),
        ("min_size: 2 variance: -1", "variance must be positive, and is -1"),
        ("min_size: 2 img_size: 9 img_h: 9", "gives both img_size and img_h or img_w"),
        ("min_size: 2 img_h: 9", "img_size must be positive in height and width, and is (9, 0)"),
        ("min_size: 2 step: 9 step_w: 9", "gives both step and step_h or step_w"),
        ("min_size: 2 step: 0", "step must be positive"),
    ],
)
def test_priors_refused(body, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (PriorBox)")) as error:
        make(prior_box(body))
    assert message in str(error.value)


def test_priors_of_five_axes_refused():
    with pytest.raises(ShapeError, match="takes blobs of 4 axes at most"):
        make(prior_box("min_size: 2", cells=(1, 2, 3, 4, 5)))


@given(
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    picture=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    ratios=st.lists(st.sampled_from([1, 0.5, 2, 3]), max_size=3),
    larger=st.booleans(),
    flags=st.tuples(st.booleans(), st.booleans()),
    place=st.sampled_from(["", "step: 7", "step_h: 7 step_w: 5 offset: 0.25", "img_size: 40"]),
)
@settings(max_examples=25)
def test_any_priors(cells, picture, ratios, larger, flags, place):
    flip, clip = (str(flag).lower() for flag in flags)
    body = " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
    body += f" min_size: 9 {'max_size: 16' if larger else ''} flip: {flip} clip: {clip} {place}"
    shapes = {"f": (2, 3, *cells), "d": (2, 3, *picture)}
    check_both(prior_box(body, *shapes.values()))
    check_varying(prior_box(body), dict.fromkeys(shapes, (None, 3, None, None)), [shapes])


def test_clustered_boxes_by_hand():
    """A box of each width and height around the middle of each cell."""
    body = (
        'type: "PriorBoxClustered" prior_box_param { width: 4 height: 8 width: 10.5 height: 3 '
        "step: 10 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4 }"
    )
    text = one_layer(body, (1, 3, 2, 3), (1, 3, 20, 40))
    priors = check_both(text)["y"].reshape(2, 2, 3, 2, 4)
    for row, column in np.ndindex(2, 3):
        x, y = 10 * (column + 0.5), 10 * (row + 0.5)
        for k, (width, height) in enumerate(((4, 8), (10.5, 3))):
            box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            want = np.array(box) / (40, 20, 40, 20)
            np.testing.assert_allclose(priors[0, row, column, k], want, atol=1e-6)
            np.testing.assert_allclose(priors[1, row, column, k], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ShapeError, match="as many heights"):
        make(one_layer(body.replace("height: 3", ""), (1, 3, 2, 3), (1, 3, 20, 40)))
