"""The boxes of TextBoxes and TextBoxes++, and of OpenCV's offset_h, which it was run with there."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, check_varying, make
from .test_detection_output import CONF, detection, priors_of
from .test_prior_box import blob, layer, prior_box

OPENCV = "offset_h: 0.5 offset_w: 0.5 offset_h: 1 offset_w: 0.25"
# A map of 4x6 on a picture of 50x90: cells of 12.5x15.
# The first cell's boxes in pixels: xmin, ymin, xmax, ymax.
FIRST = [
    # In the cell's middle (7.5, 6.25), and at (3.75, 12.5); all of these OpenCV 4.14's own answers.
    (
        f"min_size: 20 clip: false {OPENCV}",
        None,
        [(-2.5, -3.75, 17.5, 16.25), (-6.25, 2.5, 13.75, 22.5)],
    ),
    (
        f"min_size: 20.9 clip: false {OPENCV}",
        None,
        [(-2.95, -4.2, 17.95, 16.7), (-6.7, 2.05, 14.2, 22.95)],
    ),
    (f"min_size: 20 {OPENCV}", None, [(0, 0, 17.5, 16.25), (0, 2.5, 13.75, 22.5)]),
    ("min_size: 40 clip: false offset_h: 0.5 offset_w: 0.5", None, [(-12.5, -13.75, 27.5, 26.25)]),
    (
        f"min_size: 20 max_size: 45 clip: false {OPENCV}",
        None,
        [
            (-2.5, -3.75, 17.5, 16.25),
            (-6.25, 2.5, 13.75, 22.5),
            (-7.5, -8.75, 22.5, 21.25),
            (-11.25, -2.5, 18.75, 27.5),
        ],
    ),
    # TextBoxes++: in the middle (7.5, 6.25), and at (7.5, 12.5); sizes cut, no clip.
    (
        "min_size: 20.9 denser_prior_boxes: true aspect_ratio: 4 flip: false",
        None,
        [
            (-2.5, -3.75, 17.5, 16.25),
            (-2.5, 2.5, 17.5, 22.5),
            (-12.5, 1.25, 27.5, 11.25),
            (-12.5, 7.5, 27.5, 17.5),
        ],
    ),
    # Its second box stands at h + 1, whatever the offset.
    (
        "min_size: 20 denser_prior_boxes: true offset: 0.25 step: 8",
        None,
        [(-8, -8, 12, 12), (-8, -2, 12, 18)],
    ),
    # TextBoxes: the same places, sizes not cut, clip unless told otherwise.
    (
        "min_size: 20.9 clip: false",
        "textboxes",
        [(-2.95, -4.2, 17.95, 16.7), (-2.95, 2.05, 17.95, 22.95)],
    ),
    ("min_size: 20", "textboxes", [(0, 0, 17.5, 16.25), (0, 2.5, 17.5, 22.5)]),
]


@pytest.mark.parametrize(("body", "fork", "first"), FIRST)
def test_first_cell(body, fork, first):
    made = check_both(prior_box(body + " variance: 0.3"), fork=fork)["y"]
    assert made.shape == (1, 2, 4 * 6 * len(first) * 4)
    boxes = made[0, 0].reshape(-1, 4) * np.float32([90, 50, 90, 50])
    assert_close(boxes[: len(first)], np.float32(first), 1e-4)
    assert np.all(made[0, 1] == np.float32(0.3))
    # The cell below has the same boxes further down, and the next one further right.
    if "clip: false" in body:
        each, box = len(first), np.float32(first[0])
        assert_close(boxes[6 * each], box + np.float32([0, 12.5, 0, 12.5]), 1e-4)
        assert_close(boxes[each], box + np.float32([15, 0, 15, 0]), 1e-4)


@pytest.mark.parametrize("body", [case[0] for case in FIRST if case[1] is None])
def test_varying_map(body):
    others = [{"f": (2, 3, 5, 7), "d": (2, 3, 50, 90)}, {"f": (2, 3, 1, 4), "d": (2, 3, 64, 33)}]
    check_varying(prior_box(body), {"f": (2, 3, None, None), "d": (2, 3, None, None)}, others)


@pytest.mark.parametrize(
    ("body", "fork", "message"),
    [
        (f"min_size: 2 offset: 0.5 {OPENCV}", None, "gives both offset and offset_h or offset_w"),
        ("min_size: 2 offset_h: 0.5", None, "gives 1 offset_h and 0 offset_w; as many of each"),
        (f"min_size: 2 {OPENCV} offset_h: 1 offset_w: 1", None, "gives 3 offset_h; beyond 2"),
        (f"min_size: 2 denser_prior_boxes: true {OPENCV}", None, "denser_prior_boxes beside"),
        (f"min_size: 2 img_size: 9 {OPENCV}", None, "gives img_size beside offset_h"),
        ("min_size: 2 step: 8", "textboxes", "gives step, which TextBoxes' does not have"),
        ("min_size: 2 min_size: 3", "textboxes", "gives several min_size, which TextBoxes' does"),
    ],
)
def test_refused(body, fork, message):
    with pytest.raises((ShapeError, UnsupportedError), match=r"layer 'l' \(PriorBox\)") as error:
        make(prior_box(body), fork=fork)
    assert message in str(error.value)


def test_priors_of_another_fork_do_not_fit():
    """TextBoxes' prototxt without --fork: twice as many predictions as SSD has boxes."""
    param = "detection_output_param { num_classes: 2 }"
    text = blob("loc", 1, 192) + blob("conf", 1, 96) + prior_box("min_size: 20")
    text += layer("DetectionOutput", ["loc", "conf", "y"], param, "o", "o")
    with pytest.raises(ShapeError, match="number of priors must match number of location"):
        make(text)
    assert make(text, fork="textboxes").graph.outputs[-1].shape == (1, 1, 1, 7)


def test_polygons_are_refused():
    with pytest.raises(UnsupportedError, match="use_polygon is TextBoxes"):
        make(detection("use_polygon: true"))
    make(detection("use_polygon: false"))


# Two that differ outside the picture alone: apart before they are cut, equal in the rows.
OUTSIDE = [(-1, 0.25, 0.5, 0.5), (0, 0.25, 0.5, 0.5), (0.5, 0.5, 3, 2), (0, 0, 0.1, 0.1)]


def test_rows_cut_after_the_suppression():
    text = detection("nms_param { nms_threshold: 0.9 }", 1, 4, 2)
    feeds = {
        "loc": np.zeros((1, 16), np.float32),
        "conf": np.float32(CONF).reshape(1, -1),
        "prior": priors_of(OUTSIDE),
    }
    made = check_both(text, feeds=feeds, fork="textboxes")["y"]
    want = [(0.5, 0.5, 1, 1), (0, 0, 0.1, 0.1), (0, 0.25, 0.5, 0.5), (0, 0.25, 0.5, 0.5)]
    assert_close(made[0, 0, :, 3:], np.float32(want))


def test_nothing_found_in_any_image_is_one_row():
    text = detection("confidence_threshold: 2", 3, 4, 2)
    feeds = {
        "loc": np.zeros((3, 16), np.float32),
        "conf": np.zeros((3, 8), np.float32),
        "prior": priors_of(OUTSIDE),
    }
    made = check_both(text, feeds=feeds, fork="textboxes")["y"]
    assert np.array_equal(made, np.full((1, 1, 1, 7), -1))
