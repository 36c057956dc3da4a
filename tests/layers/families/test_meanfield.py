"""MultiStageMeanfield, whose numbers are recorded in golden/layers_forks/meanfield."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import check_both, make, one_layer


def text(fields, size=(5, 7), images=1, kind="MultiStageMeanfield"):
    scores, image = (images, 4, *size), (images, 3, *size)
    body = f'type: "{kind}" multi_stage_meanfield_param {{ {fields} }}'
    return one_layer(body, scores, scores, image)


def test_weights_without_a_file():
    """The first diagonals, which the fork reads from files beside the net."""
    fields = "num_iterations: 2 spatial_filter_weight: 3 bilateral_filter_weight: 5"
    spatial, bilateral, compatibility = make(text(fields)).arrays[-1]
    for blob, rate in ((spatial, 3), (bilateral, 5), (compatibility, -1)):
        np.testing.assert_array_equal(blob, rate * np.eye(4)[None, None])


def test_several_images():
    """Of each its own colors; the number of pixels is no multiple of 4."""
    rng = np.random.default_rng(0)
    feeds = {"a": 2 * rng.standard_normal((2, 4, 5, 7)), "c": rng.uniform(-99, 99, (2, 3, 5, 7))}
    feeds = {key: array.astype(np.float32) for key, array in feeds.items()}
    feeds["b"] = feeds["a"]
    fields = "num_iterations: 3 theta_alpha: 16 theta_beta: 30 theta_gamma: 3"
    body = text(fields, images=2, kind="MULTI_STAGE_MEANFIELD")
    y = check_both(body, feeds=feeds, tolerance=1e-4)["y"]
    second = {key: array[1:] for key, array in feeds.items()}
    alone = make(text(fields)).forward(second)["y"]
    np.testing.assert_allclose(y[1:], alone, rtol=1e-4, atol=1e-4)


def test_vivid_colors():
    """Corners whose numbers exceed what a float holds, as CRF-RNN's own theta_beta makes them."""
    rng = np.random.default_rng(1)
    scores = (2 * rng.standard_normal((1, 4, 24, 30))).astype(np.float32)
    image = rng.uniform(-120, 130, (1, 3, 24, 30)).astype(np.float32)
    fields = "num_iterations: 2 theta_alpha: 160 theta_beta: 3 theta_gamma: 3"
    feeds = {"a": scores, "b": scores, "c": image}
    check_both(text(fields, (24, 30)), feeds=feeds, tolerance=1e-4)


def test_refused():
    with pytest.raises(ShapeError, match="num_iterations 1 must be greater than 1"):
        make(text("num_iterations: 1"))
