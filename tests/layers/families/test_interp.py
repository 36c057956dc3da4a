"""Interp and Resize."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    make,
    operators,
    run_onnx,
)


def blob(name, shape):
    sizes = " ".join(f"dim: {n}" for n in shape)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param '
        f"{{ shape {{ {sizes} }} }} }}\n"
    )


def interp(param, shape=(2, 3, 5, 7), like=None):
    bottoms = 'bottom: "x"' + (' bottom: "z"' if like else "")
    return (
        blob("x", shape)
        + (blob("z", like) if like else "")
        + (f'layer {{ name: "l" type: "Interp" {bottoms} top: "y" interp_param {{ {param} }} }}')
    )


def resize(param, shape=(2, 3, 5, 7)):
    return blob("x", shape) + (
        f'layer {{ name: "l" type: "Resize" bottom: "x" top: "y" resize_param {{ {param} }} }}'
    )


def run(body, x, **options):
    net = make(body, **options)
    feeds = {"x": x, **{v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs[1:]}}
    made = net.forward(feeds)["y"]
    assert_close(run_onnx(net, feeds)["y"], made)
    return made[0, 0].tolist()


def picture(rows):
    return np.array(rows, np.float32)[None, None]


def by_loops(x, size, aligned):
    """Pixel by pixel: corner on corner, or pixel i at i * in / out with zeros beyond the edge."""
    y = np.zeros((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        at = [
            k * (n - 1) / max(m - 1, 1) if aligned else k * n / m
            for k, n, m in zip((i, j), x.shape[2:], size, strict=True)
        ]
        first = [int(a) for a in at]
        for di, dj in np.ndindex(2, 2):
            row, column = first[0] + di, first[1] + dj
            share = [1 - abs(a - p) for a, p in zip(at, (row, column), strict=True)]
            if row < x.shape[2] and column < x.shape[3]:
                y[:, :, i, j] += share[0] * share[1] * x[:, :, row, column].astype(np.float64)
    return y.astype(np.float32)


# -- Interp ------------------------------------------------------------------------------------


def test_interp_by_hand():
    """2 x 2 to 3 x 3: the corners stay, the middle is the mean."""
    x = picture([[0, 4], [8, 20]])
    wanted = [[0, 2, 4], [4, 8, 12], [8, 14, 20]]
    for param in ("height: 3 width: 3", "zoom_factor: 2", "shrink_factor: 1 zoom_factor: 2"):
        assert run(interp(param, (1, 1, 2, 2)), x) == wanted
    assert run(interp("", (1, 1, 2, 2), like=(9, 8, 3, 3)), x) == wanted
    x = picture([[0, 1, 2, 3, 4]] * 3)
    assert run(interp("shrink_factor: 2", (1, 1, 3, 5)), x) == [[0, 2, 4], [0, 2, 4]]
    assert run(interp("height: 1 width: 1", (1, 1, 3, 5)), x) == [[0]]
    cut = interp("pad_beg: -1 pad_end: -1 height: 2 width: 3", (1, 1, 3, 5))
    assert run(cut, x) == [[1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("param", "size"),
    [
        ("height: 9 width: 4", (9, 4)),
        ("height: 5 width: 7", (5, 7)),
        ("zoom_factor: 3", (13, 19)),
        ("zoom_factor: 3 height: 2 width: 2", (13, 19)),  # one factor goes before the size
        ("shrink_factor: 2", (3, 4)),
        ("shrink_factor: 2 zoom_factor: 4", (9, 13)),
        ("shrink_factor: 2 zoom_factor: 4 height: 2 width: 6", (2, 6)),
    ],
)
def test_interp_sizes(param, size):
    x = np.random.default_rng(5).standard_normal((2, 3, 5, 7)).astype(np.float32)
    made = check_both(interp(param), feeds={"x": x})["y"]
    assert_close(made, by_loops(x, size, True))
    assert operators(interp(param)) == ["Resize"]  # which every runtime has a kernel for


@pytest.mark.parametrize(
    "param",
    ["height: 9 width: 4", "height: 5 width: 7", "height: 1 width: 1", "zoom_factor: 3",
     "shrink_factor: 2 zoom_factor: 4", "pad_beg: -1 pad_end: -2 height: 7 width: 3"],
)  # fmt: skip
def test_interp_gradients(param):
    check_gradients(interp(param))


def test_interp_gradients_beside_the_blob_with_the_size():
    check_gradients(interp("", like=(1, 2, 9, 4)), blobs=["x"])
    net = make(interp("", like=(1, 2, 9, 4)))
    x, like = np.ones((2, 3, 5, 7), np.float32), np.ones((1, 2, 9, 4), np.float32)
    flows = net.graph.nodes[-1].layer.backward(np.ones((2, 3, 9, 4), np.float32), x, like)
    assert flows[1] is None
    assert flows[0].sum() == pytest.approx(2 * 3 * 9 * 4)


def test_interp_of_training_toolbox():
    check_gradients(interp("zoom_factor: 3"), fork="training_toolbox_caffe")
    body = interp("zoom_factor: 3")
    assert check_both(body, fork="training_toolbox_caffe")["y"].shape == (2, 3, 15, 21)
    both = interp("zoom_factor: 3 shrink_factor: 2")
    assert check_both(both, fork="training_toolbox_caffe")["y"].shape == (2, 3, 7, 10)
    opened = make(body, fork="training_toolbox_caffe", inputs={"x": (2, 3, None, None)})
    x = np.random.default_rng(5).standard_normal((2, 3, 4, 6)).astype(np.float32)
    assert_close(run_onnx(opened, {"x": x})["y"], by_loops(x, (12, 18), True))


@pytest.mark.parametrize(
    ("body", "opened", "other"),
    [
        (interp("height: 9 width: 4"), {"x": (None, 3, None, None)}, {"x": (1, 3, 6, 2)}),
        (interp("zoom_factor: 2"), {"x": (None, 3, None, None)}, {"x": (1, 3, 6, 2)}),
        (interp("shrink_factor: 2"), {"x": (2, 3, None, None)}, {"x": (2, 3, 6, 9)}),
        (
            interp("shrink_factor: 2 zoom_factor: 3 pad_beg: -1"),
            {"x": (2, 3, None, None)},
            {"x": (2, 3, 6, 9)},
        ),
        (interp("pad_end: -2 height: 3 width: 4"), {"x": (2, 3, None, None)}, {"x": (2, 3, 6, 9)}),
        (
            interp("", like=(2, 1, 4, 6)),
            {"x": (2, 3, None, None), "z": (2, 1, None, None)},
            {"x": (2, 3, 3, 8), "z": (2, 1, 7, 9)},
        ),
        (
            interp("", like=(2, 1, 4, 6)),
            {"x": (None, 3, 5, 7), "z": (None, 1, 4, 6)},
            {"x": (4, 3, 5, 7), "z": (4, 1, 4, 6)},
        ),
    ],
)
def test_interp_of_sizes_that_vary(body, opened, other):
    check_varying(body, opened, [other])


# -- Resize ------------------------------------------------------------------------------------


def test_resize_by_hand():
    """2 x 2 to 4 x 4: each second pixel lies half way, at the far edge half way to nothing."""
    made = run(resize("height: 4 width: 4", (1, 1, 2, 2)), picture([[0, 4], [8, 20]]))
    assert made == [[0, 2, 4, 2], [4, 8, 12, 6], [8, 14, 20, 10], [4, 7, 10, 5]]
    pyramid = resize("is_pyramid_test: true out_height_scale: 2 out_width_scale: 1.5", (1, 1, 1, 2))
    np.testing.assert_allclose(run(pyramid, picture([[3, 6]])), [[3, 5, 4], [1.5, 2.5, 2]], 1e-6)


@pytest.mark.parametrize("size", [(9, 4), (5, 7), (2, 3), (10, 14), (1, 1)])
def test_resize(size):
    x = np.random.default_rng(5).standard_normal((2, 3, 5, 7)).astype(np.float32)
    body = resize(f"height: {size[0]} width: {size[1]}")
    made = check_both(body, feeds={"x": x})["y"]
    assert_close(made, by_loops(x, size, False))
    check_varying(body, {"x": (None, 3, 5, 7)}, [{"x": (4, 3, 5, 7)}])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (interp(""), "needs height and width, zoom_factor, shrink_factor or a 2nd bottom"),
        (interp("height: 3"), "needs height and width"),
        (interp("zoom_factor: 2", like=(2, 1, 4, 4)), "the size is given twice"),
        (interp("zoom_factor: 0"), "zoom_factor must be positive, and is 0"),
        (interp("pad_beg: 1 zoom_factor: 2"), "pad_beg 1 and pad_end 0 only cut"),
        (interp("pad_beg: -3 pad_end: -2 zoom_factor: 2"), "leave nothing of (5, 7)"),
        (interp("height: 0 width: 4"), "the height and width must be positive, and are (0, 4)"),
        (interp("zoom_factor: 2", (2, 3, 5)), "needs 4 axes"),
        (resize("height: 3"), "width is required"),
        (resize("is_pyramid_test: true height: 3 width: 4"), "out_height_scale is required"),
        (resize("height: 0 width: 4"), "must be positive, and are (0, 4)"),
    ],
)
def test_errors(body, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        make(body)


def test_refused():
    with pytest.raises(UnsupportedError, match="align_corners false"):
        make(interp("zoom_factor: 2 align_corners: false"))
    with pytest.raises(UnsupportedError, match="fixed size"):
        lower(make(resize("height: 9 width: 4"), inputs={"x": (2, 3, None, None)}))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
def test_any_size(height, width, high, wide):
    shape, size = (1, 2, height, width), f"height: {high} width: {wide}"
    x = np.random.default_rng(height * 9 + width).standard_normal(shape).astype(np.float32)
    for kind, aligned in ((interp, True), (resize, False)):
        made = check_both(kind(size, shape), feeds={"x": x})["y"]
        assert_close(made, by_loops(x, (high, wide), aligned))
