"""SPP, pooling over a pyramid of grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer


def spp(param, shape=(2, 3, 7, 9)):
    return one_layer(f'type: "SPP" spp_param {{ {param} }}', shape, name="pool")


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("height", "size", "top"),
    [
        (1, (7, 9), (2, 3, 1, 1)),
        (2, (7, 9), (2, 15)),
        (3, (8, 12), (2, 63)),
        (3, (7, 9), (2, 63)),
        (4, (8, 15), (2, 255)),
    ],
)
def test_pyramid(pool, height, size, top):
    body = spp(f"pyramid_height: {height} pool: {pool}", (2, 3, *size))
    made = check_both(body)["y"]
    assert made.shape == top
    x = np.random.default_rng(4).permutation(6 * size[0] * size[1]).reshape(2, 3, *size)
    check_gradients(body, feeds={"a": (x / 64).astype(np.float32)})


def test_pyramid_refused():
    with pytest.raises(ShapeError, match="pyramid_height must be positive, and is 0"):
        make(spp("pool: MAX"))
    with pytest.raises(ShapeError, match=r"layer 'pool' \(SPP\): pad .* must be smaller"):
        make(spp("pyramid_height: 4000000000"))
    with pytest.raises(ShapeError, match="4 axes"):
        make(spp("pyramid_height: 1", (2, 3, 5)))


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_bins_by_hand(pool):
    """4 x 6 in 1 bin and in 2 x 2 of 2 x 3."""
    net = make(spp(f"pyramid_height: 2 pool: {pool}", (1, 1, 4, 6)))
    x = feed(net)["a"]
    made = net.forward({"a": x})["y"]
    best = np.max if pool == "MAX" else np.mean
    halves = [best(x[0, 0, i : i + 2, j : j + 3]) for i in (0, 2) for j in (0, 3)]
    assert_close(made, [[best(x), *halves]], 1e-6)


def test_unsupported():
    with pytest.raises(UnsupportedError, match="SPP layer draws at random"):
        make(spp("pyramid_height: 1 pool: STOCHASTIC"))
    with pytest.raises(UnsupportedError, match="needs axis 2 of its bottom at a fixed size"):
        lower(make(spp("pyramid_height: 2"), inputs={"a": (2, 3, None, 9)}))


@given(
    pool=st.sampled_from(["MAX", "AVE"]),
    height=st.integers(1, 3),
    size=st.tuples(st.integers(4, 13), st.integers(4, 13)),
)
@settings(max_examples=25)
def test_any_pyramid(pool, height, size):
    body = spp(f"pyramid_height: {height} pool: {pool}", (2, 3, *size))
    try:
        make(body)
    except ShapeError:
        assume(False)
    made = check_both(body)["y"]
    assert made.size == 6 * sum(4**level for level in range(height))
