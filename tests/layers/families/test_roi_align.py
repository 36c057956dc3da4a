"""ROIAlign, as Caffe2 has it and as Cascade R-CNN has it."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import check_both, make, operators
from ..test_regions import MAX, MEAN, PICTURE, regions, run, text


def test_roi_align_by_hand():
    """A region of 2 x 2 cells: a point in each bin's middle, or the mean of four."""
    param = "roi_align_param { pooled_h: 1 pooled_w: 2 spatial_scale: 0.5 sampling_ratio: %d }"
    for points in (1, 2, 0):
        body = text("ROIAlign", param % points, (1, 1, 4, 5), (2, 5))
        made = run(body, PICTURE[None], [[0, 2, 2, 6, 6], [0, 2, 2, 2, 2]])
        # Columns 1.5 and 2.5 of row 2; in a plane four points' mean is their middle.
        np.testing.assert_allclose(made[0, 0], [[21.5, 22.5]], 1e-6)
        # An empty region counts as one cell.
        np.testing.assert_allclose(made[1, 0], [[16.25, 16.75]], 1e-6)


def test_regions_image_by_image_as_cambricons():
    """(N, R, 1, 5) are N x R rows, and each is of the image that it names."""
    flat = regions(6, 2, 9)
    x = np.random.default_rng(4).standard_normal((2, 18, 9, 11)).astype(np.float32)
    want = make(text("ROIAlign", MEAN % 2, x.shape, (6, 5))).forward({"x": x, "rois": flat})["y"]
    four = text("ROIAlign", MEAN % 2, x.shape, (2, 3, 1, 5))
    outputs = check_both(four, feeds={"x": x, "rois": flat.reshape(2, 3, 1, 5)})
    np.testing.assert_array_equal(outputs["y"], want)
    for shape in ((1, 6, 1, 5), (2, 3, 2, 5)):
        with pytest.raises(ShapeError, match=r"must be \(N, R, 1, 5\) for the N = 2 images"):
            make(text("ROIAlign", MEAN % 2, x.shape, shape))


def test_roi_align_of_cascade_rcnn_by_hand():
    """The corners of two bins, half a cell before what spatial_scale says; 0 beyond the picture."""
    param = "roi_pooling_param { pooled_h: 1 pooled_w: 2 spatial_scale: 0.5 }"
    body = text("ROIAlign", param, (1, 1, 4, 5), (3, 5))
    made = run(
        body, PICTURE[None], [[0, 3, 3, 7, 5], [0, 9, 1, 17, 3], [0, 4, 3, 4, 5]], "cascade-rcnn"
    )
    np.testing.assert_allclose(made[0, 0], [[11, 12, 13], [21, 22, 23]], 1e-6)
    np.testing.assert_allclose(made[1, 0], [[4, 0, 0], [14, 0, 0]], 1e-6)
    assert not made[2].any()


def test_forks():
    for param in (MAX, "roi_align_param { pooled_h: 2 pooled_w: 2 }"):
        with pytest.raises(UnsupportedError, match="name the fork"):
            make(text("ROIAlign", param))
    with pytest.raises(UnsupportedError, match="bi_type is of makefile/frcnn"):
        make(text("ROIAlign", MAX.replace("{", "{ bi_type: 0")), fork="cascade-rcnn")
    adaptive = "roi_align_param { pooled_h: 2 pooled_w: 2 }"
    x = np.random.default_rng(1).standard_normal((1, 18, 9, 11)).astype(np.float32)
    feeds = {"x": x, "rois": regions(30, 1, 5)}
    check_both(text("ROIAlign", adaptive, x.shape), fork="caffe2", feeds=feeds)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("index", [0, 3])
def test_a_region_of_no_place_is_refused(number, index):
    """C++ casts it to an index of whatever pixel."""
    net = make(text("ROIAlign", MEAN % 2, (1, 2, 4, 5), (1, 5)))
    rois = np.array([[0, 1, 0, 2, 9]], np.float32)
    rois[0, index] = number
    with pytest.raises(ShapeError, match=r"^layer 'l' \(ROIAlign\): region 0 is not finite: "):
        net.forward({"x": np.ones((1, 2, 4, 5), np.float32), "rois": rois})


def test_is_onnxs_own_operator():
    """Beside the regions' columns, parted as the operator takes them."""
    assert operators(text("ROIAlign", MEAN % 2, (1, 18, 9, 11))).count("RoiAlign") == 1
    assert len(operators(text("ROIAlign", MEAN % 0, (1, 18, 9, 11)))) == 4
