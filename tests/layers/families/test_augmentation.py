"""DataAugmentation of FlowNet's nets in TEST: the middle of the images, minus their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, make, one_layer, run_onnx

IMAGE = np.random.default_rng(0).uniform(0, 1, (2, 3, 7, 9)).astype(np.float32)


def text(fields):
    return one_layer(f'type: "DataAugmentation" augmentation_param {{ {fields} }}', IMAGE.shape)


def with_blobs(net, *arrays):
    return replace(net, arrays=(*net.arrays[:-1], arrays))


def test_the_middle():
    """An odd cut begins between two pixels; of what is not cut, the last pixel is a mean."""
    y = check_both(text("crop_width: 5 crop_height: 7"), feeds={"a": IMAGE})["y"]
    wanted = IMAGE[..., 2:7].copy()
    wanted[:, :, 6] = 0.05 * wanted[:, :, 5] + 0.95 * wanted[:, :, 6]
    assert_close(y, wanted, 1e-5)
    y = check_both(text("crop_width: 4 crop_height: 5"), feeds={"a": IMAGE})["y"]
    assert_close(y, (IMAGE[:, :, 1:6, 2:6] + IMAGE[:, :, 1:6, 3:7]) / 2, 1e-5)


def test_no_cut():
    fields = "mean_per_pixel: false mean: 0.1 mean: 0.2 mean: 0.3"
    y = check_both(text(fields), feeds={"a": IMAGE})["y"]
    assert_close(y, IMAGE - np.array([0.1, 0.2, 0.3], np.float32)[:, None, None], 1e-6)


@pytest.mark.parametrize("per_pixel", ["true", "false"])
def test_the_mean_so_far(per_pixel):
    """The third pass of three is a third of the mean; the fourth finds it final."""
    net = make(text(f"recompute_mean: 3 mean_per_pixel: {per_pixel}"))
    mean = np.random.default_rng(1).uniform(0, 1, (1, 3, 7, 9)).astype(np.float32)
    stored = mean.mean((2, 3), keepdims=True)
    for passes, final in ((2, False), (3, True)):
        count = np.full((1, 1, 1, 1), passes, np.float32)
        filled = with_blobs(net, count, mean, stored)
        now = mean if final else mean * 2 / 3 + IMAGE.mean(0, keepdims=True) / 3
        if per_pixel == "false":
            now = now.mean((2, 3), keepdims=True)
        for blobs in (filled.forward({"a": IMAGE}), run_onnx(filled, {"a": IMAGE})):
            assert_close(blobs["y"], IMAGE - now, 1e-5)


def test_refused():
    with pytest.raises(ShapeError, match=r"cannot cut \(8, 4\) from \(2, 3, 7, 9\)"):
        make(text("crop_width: 4 crop_height: 8"))
    with pytest.raises(UnsupportedError, match="changes images at random in TRAIN"):
        make(text("crop_width: 4 crop_height: 5"), phase="TRAIN")
