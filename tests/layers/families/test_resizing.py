"""synopsys-caffe's resizing layers, beside PyTorch's interpolation and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer, operators

SHAPE = (2, 3, 5, 7)


def bilinear(param):
    return f'type: "ResizeBilinear" resize_bilinear_param {{ data_format: "NCHW" {param} }}'


def nearest(param):
    body = 'type: "ResizeNearestNeighbor" resize_nearest_neighbor_param { data_format: "NCHW" %s }'
    return body % param


@pytest.mark.parametrize(
    ("size", "corners"),
    [*((size, c) for size in [(9, 13), (10, 14), (3, 4), (5, 7)] for c in (0, 1)), ((1, 6), 0)],
)
def test_bilinear_as_torch(size, corners):
    torch = pytest.importorskip("torch")
    mode = "align_corners: true" if corners else "half_pixel_centers: true"
    body = bilinear(f"output_height: {size[0]} output_width: {size[1]} {mode}")
    text = one_layer(body, SHAPE)
    x = torch.from_numpy(feed(make(text))["a"])
    want = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=bool(corners))
    assert_close(check_both(text)["y"], want.numpy(), 3e-5)
    check_gradients(text)


def test_bilinear_by_hand():
    """Without a flag the places are i in / out: 0, 1/2, 1, 3/2, which is cut at the last."""
    text = one_layer(bilinear("scale_height: 1 scale_width: 2"), (1, 1, 1, 2))
    x = np.array([2, 6], np.float32).reshape(1, 1, 1, 2)
    assert check_both(text, feeds={"a": x})["y"].ravel().tolist() == [2, 4, 6, 6]
    last = one_layer(bilinear("scale_width: 2").replace("NCHW", "NHWC"), (1, 1, 2, 3))
    x = np.array([[2, 0, 1], [6, 1, 3]], np.float32).reshape(1, 1, 2, 3)
    assert check_both(last, feeds={"a": x})["y"][0, 0].tolist() == [
        [2, 0, 1], [4, 0.5, 2], [6, 1, 3], [6, 1, 3],
    ]  # fmt: skip
    check_gradients(last)


@pytest.mark.parametrize(
    ("param", "place"),
    [
        ("", lambda i, n, size: i * n // size),
        ("half_pixel_centers: true", lambda i, n, size: (2 * i + 1) * n // (2 * size)),
        (
            "half_pixel_onnx: true",
            lambda i, n, size: max(0, ((2 * i + 1) * n - size) // (2 * size)),
        ),
        (
            "align_corners: true",
            lambda i, n, size: (2 * i * (n - 1) + size - 1) // (2 * (size - 1)),
        ),
    ],
)
@pytest.mark.parametrize("size", [(10, 14), (9, 13), (4, 3)])
def test_nearest_by_loops(param, place, size):
    text = one_layer(nearest(f"output_height: {size[0]} output_width: {size[1]} {param}"), SHAPE)
    x = feed(make(text))["a"]
    want = np.empty((2, 3, *size), np.float32)
    for i, j in np.ndindex(*size):
        want[:, :, i, j] = x[:, :, place(i, 5, size[0]), place(j, 7, size[1])]
    assert np.array_equal(check_both(text)["y"], want)
    check_gradients(text)


def test_whole_factors_are_one_resize():
    assert operators(one_layer(nearest("scale_height: 2 scale_width: 3"), SHAPE)) == ["Resize"]


def test_upsample_darknet():
    text = one_layer('type: "UpsampleDarknet" upsample_darknet_param { stride: 3 }', SHAPE)
    x = feed(make(text))["a"]
    assert np.array_equal(check_both(text)["y"], np.kron(x, np.ones((3, 3), np.float32)))
    check_gradients(text)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (bilinear("align_corners: true half_pixel_centers: true"), ShapeError, "one at most"),
        (nearest("align_corners: true half_pixel_onnx: true"), ShapeError, "one at most"),
        (bilinear("scale_height: 0.1"), ShapeError, "must be positive"),
        (bilinear("").replace("NCHW", "NCHWD"), UnsupportedError, "NCHWD"),
        (bilinear("output_height: 1 pytorch_half_pixel: true"), UnsupportedError, "single"),
    ],
)
def test_refused(body, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, SHAPE))
