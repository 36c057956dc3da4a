"""Correlation and Correlation1D beside loops over patches and displacements."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import check_both, check_gradients, make, one_layer

SHAPE = (2, 4, 9, 11)
A, B = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
FREE = dict.fromkeys("ab", (2, 4, None, None))
SETTINGS = [(4, 1, 4, 1, 1), (4, 1, 4, 1, 2), (4, 3, 3, 2, 2), (3, 3, 2, 1, 1), (2, 1, 3, 1, 1)]


def text(kind, pad, kernel, reach, one=1, two=1, more=""):
    fields = (
        f"pad: {pad} kernel_size: {kernel} max_displacement: {reach} stride_1: {one} "
        f"stride_2: {two} {more}"
    )
    return one_layer(f'type: "{kind}" correlation_param {{ {fields} }}', SHAPE, SHAPE)


def loops(pad, kernel, reach, one, two, combine, flat):
    """The mean of each patch of A with each displaced patch of B."""
    down = 0 if flat else pad
    a, b = (np.pad(x, ((0, 0), (0, 0), (down, down), (pad, pad))) for x in (A, B))
    radius, top = reach // two, 0 if flat else reach
    height, width = (
        -(-(n - 2 * (edge + (kernel - 1) // 2)) // one)
        for n, edge in zip(a.shape[2:], (top, reach), strict=True)
    )
    moves = range(-radius, radius + 1)
    pairs = [(i, j) for i in ([0] if flat else moves) for j in moves]
    y = np.zeros((2, len(pairs), height, width))
    for n, c, i, j in np.ndindex(y.shape):
        row, column = i * one + top, j * one + reach
        down, across = row + pairs[c][0] * two, column + pairs[c][1] * two
        patches = (
            x[n, :, r : r + kernel, s : s + kernel]
            for x, r, s in ((a, row, column), (b, down, across))
        )
        y[n, c, i, j] = combine(*patches).mean()
    return y


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", ["Correlation", "Correlation1D"])
def test_products(kind, setting):
    feeds = {"a": A, "b": B}
    y = check_both(text(kind, *setting), feeds=feeds)["y"]
    np.testing.assert_allclose(y, loops(*setting, np.multiply, kind == "Correlation1D"), atol=1e-5)
    check_both(text(kind, *setting), feeds=feeds, inputs=FREE)
    check_gradients(text(kind, *setting), feeds=feeds)


@pytest.mark.parametrize("kind", ["Correlation", "Correlation1D"])
def test_differences(kind):
    body = text(kind, *SETTINGS[2], "correlation_type: SUBTRACT")
    y = check_both(body, feeds={"a": A, "b": B})["y"]
    wanted = loops(*SETTINGS[2], lambda a, b: np.abs(a - b), kind == "Correlation1D")
    np.testing.assert_allclose(y, wanted, atol=1e-5)


@pytest.mark.parametrize(("side", "moves"), [(-1, range(-5, 0)), (1, range(5))])
def test_one_direction(side, moves):
    body = text("Correlation1D", 4, 1, 4, more=f"single_direction: {side}")
    y = check_both(body, feeds={"a": A, "b": B})["y"]
    check_gradients(body, feeds={"a": A, "b": B})
    for channel, move in enumerate(moves):
        shifted = np.zeros_like(B)
        if move < 0:
            shifted[..., -move:] = B[..., :move]
        else:
            shifted[..., : 11 - move] = B[..., move:]
        np.testing.assert_allclose(y[:, channel], (A * shifted).mean(1), atol=1e-6)


def test_refused():
    with pytest.raises(UnsupportedError, match="reads another row; needs more pad"):
        make(text("Correlation1D", 0, 1, 4, more="single_direction: -1"))
    with pytest.raises(ShapeError, match=r"do not fit into \(2, 4, 9, 11\)"):
        make(text("Correlation", 0, 1, 5))
    with pytest.raises(ShapeError, match="an odd kernel_size and positive strides: 2, 1, 1"):
        make(text("Correlation", 4, 2, 4))
