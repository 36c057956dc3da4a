"""FlowWarp, Warp and SpatialTransformer beside loops over their pixels, and beside PyTorch."""

from __future__ import annotations

from math import floor

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import check_both, check_gradients, make, one_layer

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
FREE = {"a": (2, 3, None, None), "b": (2, 2, None, None)}


def flow_to(seed=1):
    """A flow to places off the pixels, some of them beyond the image."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(-2, n + 1, (2, 5, 7)) + rng.uniform(0.2, 0.8) for n in (5, 7))
    flow = np.stack([columns - np.arange(7), rows - np.arange(5)[:, None]], axis=1)
    return flow.astype(np.float32)


def pixel(x, row, column, clamp):
    """An image's pixel; beyond its edges that of the edge, or 0."""
    height, width = x.shape[1:]
    if clamp:
        row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    inside = 0 <= row < height and 0 <= column < width
    return x[:, row, column] if inside else np.zeros(len(x))


def interpolate(x, row, column, clamp=True):
    """A bilinear sample of an image."""
    top, left = floor(row), floor(column)
    return sum(
        (1 - abs(row - r)) * (1 - abs(column - c)) * pixel(x, r, c, clamp)
        for r in (top, top + 1)
        for c in (left, left + 1)
    )


@pytest.mark.parametrize("kind", ["FlowWarp", "Warp"])
def test_flows(kind):
    """A place in the last pixel's other half is in FlowWarp's image, and not in Warp's."""
    flow = flow_to()
    body = one_layer(f'type: "{kind}"', IMAGE.shape, flow.shape)
    y = check_both(body, feeds={"a": IMAGE, "b": flow})["y"]
    last = 0 if kind == "FlowWarp" else 1
    for n, i, j in np.ndindex(2, 5, 7):
        row, column = i + flow[n, 1, i, j], j + flow[n, 0, i, j]
        inside = 0 <= row < 5 - last and 0 <= column < 7 - last
        wanted = interpolate(IMAGE[n], row, column) if inside else 0
        np.testing.assert_allclose(y[n, :, i, j], wanted, atol=1e-5)
    assert 0.2 < (y == 0).mean() < 0.8
    check_both(body, feeds={"a": IMAGE, "b": flow}, inputs=FREE)
    check_gradients(body, feeds={"a": IMAGE, "b": flow})


def test_flow_warp_fills_with_nan():
    body = 'type: "FlowWarp" flow_warp_param { fill_value: NOT_A_NUMBER }'
    net = make(one_layer(body, (1, 1, 2, 2), (1, 2, 2, 2)))
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 0, 0] = -1
    y = net.forward({"a": np.ones((1, 1, 2, 2), np.float32), "b": flow})["y"]
    assert np.isnan(y[0, 0]).tolist() == [[True, False], [False, False]]


THETA = np.array([[0.83, 0.11, 0.05, -0.12, 0.91, 0.02], [0.7, -0.2, 0.3, 0.1, 1.3, -0.4]], "f")


def transformer(fields="", theta=6):
    return one_layer(f'type: "SpatialTransformer" st_param {{ {fields} }}', IMAGE.shape, (2, theta))


def test_spatial_transformer():
    """Row i of m is at 2 i / m - 1, row 1 of the image of n at (1 + 1) n / 2."""
    feeds = {"a": IMAGE, "b": THETA}
    body = transformer("output_H: 4 output_W: 6")
    y = check_both(body, feeds=feeds)["y"]
    assert y.shape == (2, 3, 4, 6)
    for n, i, j in np.ndindex(2, 4, 6):
        at = THETA[n].reshape(2, 3) @ [i / 4 * 2 - 1, j / 6 * 2 - 1, 1]
        wanted = interpolate(IMAGE[n], (at[0] + 1) / 2 * 5, (at[1] + 1) / 2 * 7, clamp=False)
        np.testing.assert_allclose(y[n, :, i, j], wanted, atol=1e-5)


def test_spatial_transformer_that_only_moves():
    """The prototxt's numbers of theta are constants, the bottom's the others in order."""
    fields = "theta_1_1: 0.83 theta_1_2: 0.11 theta_2_1: -0.12 theta_2_2: 0.91"
    feeds = {"a": IMAGE, "b": THETA[:1, [2, 5]].repeat(2, 0)}
    y = check_both(transformer(fields, 2), feeds=feeds)["y"]
    whole = make(transformer()).forward({"a": IMAGE, "b": THETA[:1].repeat(2, 0)})["y"]
    np.testing.assert_allclose(y, whole, atol=1e-6)


def test_spatial_transformer_gradients():
    """The image's own derivative in its place: a plane's is exact, since it has no kinks."""
    plane = np.indices((5, 7)).sum(0).astype(np.float32) * 0.1
    inside = np.array([[0.31, 0.05, 0.02, -0.04, 0.3, 0.01]], np.float32).repeat(2, 0)
    feeds = {"a": np.broadcast_to(plane, IMAGE.shape), "b": inside}
    check_gradients(transformer(), feeds=feeds)
    net = make(transformer("to_compute_dU: false"))
    gradients, _ = net.backward(net.run(feeds), {"y": np.ones(IMAGE.shape, np.float32)})
    assert set(gradients) >= {"b"}
    assert not np.any(gradients.get("a", 0))


def test_refused():
    with pytest.raises(UnsupportedError, match="transform_type 'tps'; the fork has affine"):
        make(transformer('transform_type: "tps"'))
    with pytest.raises(ShapeError, match=r"of 5 numbers each: \(2, 3, 5, 7\), \(2, 6\)"):
        make(transformer("theta_1_1: 1"))
    with pytest.raises(ShapeError, match=r"a flow \(N, 2, H, W\)"):
        make(one_layer('type: "Warp"', IMAGE.shape, (2, 3, 5, 7)))
