"""DetectionOutput."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify

from ...cases import assert_close, check_both, check_varying, make, operators, run_onnx
from .test_prior_box import blob, layer, prior_box


def detection(body, images=2, priors=7, classes=3, shared=True):
    return (
        blob("loc", images, priors * 4 * (1 if shared else classes))
        + blob("conf", images, priors * classes)
        + blob("prior", 1, 2, priors * 4)
        + layer(
            "DetectionOutput",
            ["loc", "conf", "prior"],
            f"detection_output_param {{ num_classes: {classes} {body} "
            f"{'' if shared else 'share_location: false'} }}",
        )
    )


def priors_of(boxes, variances=(0.1, 0.1, 0.2, 0.2)):
    boxes = np.asarray(boxes, np.float32)
    rows = np.tile(np.float32(variances), len(boxes))
    return np.stack([boxes.ravel(), rows])[None]


def drawn(rng, images, priors, classes, shared=True, ties=False):
    """Predictions around drawn priors; with `ties` equal scores and boxes on a grid."""
    centre, size = rng.random((priors, 2)), rng.random((priors, 2)) * 0.5 + 0.02
    if ties:
        centre, size = np.round(centre * 4) / 4, np.ceil(size * 4) / 4
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    loc = rng.standard_normal((images, priors * 4 * (1 if shared else classes)))
    conf = rng.random((images, priors * classes))
    if ties:
        loc, conf = np.round(loc), np.round(conf * 4) / 4
    return {
        "loc": loc.astype(np.float32),
        "conf": conf.astype(np.float32),
        "prior": priors_of(boxes, rng.random(4) + 0.05),
    }


# Four unit-high strips: 0 and 1 overlap by 3 in 5, 2 is alone, 3 lies inside 2.
STRIPS = [(0, 0, 4, 1), (1, 0, 5, 1), (6, 0, 10, 1), (6, 0, 8, 1)]


def found(body, conf, classes=2, images=1, loc=None, priors=STRIPS):
    text = detection(body, images, len(priors), classes)
    feeds = {
        "loc": np.zeros((images, 4 * len(priors)), np.float32) if loc is None else loc,
        "conf": np.float32(conf).reshape(images, -1),
        "prior": priors_of(priors),
    }
    return check_both(text, feeds=feeds)["y"]


def scores_of(made):
    assert made.shape[:2] == (1, 1)
    return [(int(i), int(label), round(float(score), 4)) for i, label, score in made[0, 0, :, :3]]


# Background, then class 1, for each strip.
CONF = [[0.1, 0.6], [0.2, 0.7], [0.3, 0.9], [0.4, 0.8]]


@pytest.mark.parametrize(
    ("body", "want"),
    [
        # 3/5 and 2/4 overlap.
        ("nms_param { nms_threshold: 0.55 }", [0.9, 0.8, 0.7]),
        ("nms_param { nms_threshold: 0.6 }", [0.9, 0.8, 0.7, 0.6]),  # equal is not above
        ("nms_param { nms_threshold: 0.5 }", [0.9, 0.8, 0.7]),
        ("nms_param { nms_threshold: 0.45 }", [0.9, 0.7]),
        ("", [0.9, 0.7]),  # 0.3 by default
        ("nms_param { nms_threshold: 0.45 top_k: 2 }", [0.9]),  # looked at first, then suppressed
        ("nms_param { nms_threshold: 1 } keep_top_k: 3", [0.9, 0.8, 0.7]),
        ("nms_param { nms_threshold: 1 } keep_top_k: -1", [0.9, 0.8, 0.7, 0.6]),
        ("nms_param { nms_threshold: 1 } confidence_threshold: 0.7", [0.9, 0.8]),
        # The threshold falls from 0.65 to 0.585 and 0.5265 as boxes are kept; then 0.6 is above.
        ("nms_param { nms_threshold: 0.65 eta: 0.9 }", [0.9, 0.8, 0.7]),
        ("nms_param { nms_threshold: 0.65 eta: 1 }", [0.9, 0.8, 0.7, 0.6]),
        ("nms_param { nms_threshold: 0.49 eta: 0.1 }", [0.9, 0.7]),  # only above 0.5 it falls
    ],
)
def test_what_stays(body, want):
    made = found(body, CONF)
    assert scores_of(made) == [(0, 1, score) for score in want]
    strip = {0.6: 0, 0.7: 1, 0.9: 2, 0.8: 3}
    assert_close(made[0, 0, :, 3:], np.float32([STRIPS[strip[score]] for score in want]))


def test_rows_by_image_label_and_score():
    conf = np.float32(
        [
            [[0.0, 0.2, 0.3], [0, 0.4, 0.1], [0, 0.6, 0.9], [0, 0, 0]],
            [[0.0, 0.0, 0.0], [0, 0, 0.7], [0, 0.5, 0], [0, 0, 0]],
        ]
    )
    body = "nms_param { nms_threshold: 1 } confidence_threshold: 0.15"
    made = scores_of(found(body, conf, classes=3, images=2))
    assert made == [
        (0, 1, 0.6),
        (0, 1, 0.4),
        (0, 1, 0.2),
        (0, 2, 0.9),
        (0, 2, 0.3),
        (1, 1, 0.5),
        (1, 2, 0.7),
    ]
    made = scores_of(found(body + " keep_top_k: 2", conf, classes=3, images=2))
    assert made == [(0, 1, 0.6), (0, 2, 0.9), (1, 1, 0.5), (1, 2, 0.7)]


def test_equal_scores_stand_in_order():
    made = found("nms_param { nms_threshold: 1 }", [[0, 0.5]] * 4)
    assert_close(made[0, 0, :, 3:], np.float32(STRIPS))
    made = found("nms_param { nms_threshold: 1 top_k: 3 } keep_top_k: 2", [[0, 0.5]] * 4)
    assert_close(made[0, 0, :, 3:], np.float32(STRIPS[:2]))
    made = found("nms_param { nms_threshold: 0.3 }", [[0, 0.5]] * 4)
    assert_close(made[0, 0, :, 3:], np.float32([STRIPS[0], STRIPS[2]]))


@pytest.mark.parametrize(
    "body",
    [
        "confidence_threshold: 0.99",
        "keep_top_k: 0",
        "nms_param { top_k: 0 }",
        "confidence_threshold: 0.99 nms_param { nms_threshold: 0.8 eta: 0.5 } keep_top_k: 1",
    ],
)
def test_nothing_found(body):
    want = np.full((1, 1, 3, 7), -1, np.float32)
    want[0, 0, :, 0] = range(3)
    assert np.array_equal(found(body, [CONF] * 3, images=3), want)


def test_nothing_found_in_one_image_of_two():
    conf = [CONF, [[0.9, 0.1]] * 4]
    made = found("confidence_threshold: 0.5 nms_param { nms_threshold: 1 }", conf, images=2)
    assert {image for image, _, _ in scores_of(made)} == {0}


def test_no_class_but_the_background():
    made = found("", [[0.9]] * 4, classes=1)
    assert np.array_equal(made, [[[[0] + [-1] * 6]]])


@pytest.mark.parametrize(("label", "want"), [(0, {1, 2}), (1, {0, 2}), (2, {0, 1}), (7, {0, 1, 2})])
def test_background(label, want):
    conf = np.random.default_rng(5).random((4, 3))
    made = found(f"background_label_id: {label}", conf, classes=3)
    assert {row[1] for row in scores_of(made)} == want


def test_codes():
    """One prior of 2 x 4 around (3, 4), by hand."""
    prior, loc, variance = (2, 2, 4, 6), np.float32([[0.5, -1, 1, 2]]), (0.5, 0.25, 2, 1)
    grown = np.exp(np.float64([2, 2]))
    centre = np.array([3 + 0.25 * 2, 4 - 0.25 * 4])
    cases = [
        ("CORNER", "false", [2 + 0.25, 2 - 0.25, 4 + 2, 6 + 2]),
        ("CORNER", "true", [2.5, 1, 5, 8]),
        ("CORNER_SIZE", "false", [2 + 0.25 * 2, 2 - 0.25 * 4, 4 + 2 * 2, 6 + 2 * 4]),
        ("CORNER_SIZE", "true", [2 + 0.5 * 2, 2 - 4, 4 + 2, 6 + 2 * 4]),
        ("CENTER_SIZE", "false", [*(centre - grown * [1, 2]), *(centre + grown * [1, 2])]),
        ("CENTER_SIZE", "true", [4 - np.exp(1), 0 - 2 * np.exp(2), 4 + np.exp(1), 2 * np.exp(2)]),
    ]
    for code, encoded, want in cases:
        text = detection(f"code_type: {code} variance_encoded_in_target: {encoded}", 1, 1, 2)
        feeds = {"loc": loc, "conf": np.float32([[0, 1]]), "prior": priors_of([prior], variance)}
        assert_close(check_both(text, feeds=feeds)["y"][0, 0, 0, 3:], np.float32(want), 1e-6)


def test_boxes_inside_out_overlap_nothing():
    inside_out = [(4, 0, 0, 1), (4, 0, 0, 1), (0, 0, 4, 1), (0, 0, 4, 1)]
    made = found("nms_param { nms_threshold: 0.1 }", CONF, priors=inside_out)
    assert [score for _, _, score in scores_of(made)] == [0.9, 0.7, 0.6]


def test_clip_as_opencv_has_it():
    """Cut before they are compared: two boxes that differ outside the picture alone are one."""
    priors = [(-1, 0.25, 0.5, 0.5), (0, 0.25, 0.5, 0.5), (0.5, 0.5, 3, 2), (0, 0, 0.1, 0.1)]
    made = found("clip: true nms_param { nms_threshold: 0.9 }", CONF, priors=priors)
    want = [(0.5, 0.5, 1, 1), (0, 0, 0.1, 0.1), (0, 0.25, 0.5, 0.5)]
    assert_close(made[0, 0, :, 3:], np.float32(want))
    made = found("nms_param { nms_threshold: 0.9 }", CONF, priors=priors)
    assert len(made[0, 0]) == 4


def test_boxes_of_each_class():
    rng = np.random.default_rng(8)
    feeds = drawn(rng, 2, 7, 3, shared=False)
    made = check_both(detection("keep_top_k: 9", shared=False), feeds=feeds)["y"]
    priors = feeds["prior"].reshape(2, 7, 4)
    for image, label, score, *box in made[0, 0]:
        index = np.flatnonzero(feeds["conf"].reshape(2, 7, 3)[int(image), :, int(label)] == score)
        loc = feeds["loc"].reshape(2, 7, 3, 4)[int(image), index[0], int(label)]
        assert_close(np.array(box), priors[0, index[0]] + priors[1, index[0]] * loc, 1e-6)


def test_a_fourth_bottom_is_not_read():
    text = detection("").replace('bottom: "prior"', 'bottom: "prior" bottom: "d"')
    feeds = drawn(np.random.default_rng(2), 2, 7, 3)
    unread = np.zeros((2, 3, 9, 9), np.float32)
    made = check_both(blob("d", 2, 3, 9, 9) + text, feeds={**feeds, "d": unread})
    assert np.array_equal(made["y"], make(detection("")).forward(feeds)["y"])


@pytest.mark.parametrize("shape", [(2, 2, 28), (2, 2, 28, 1)])
def test_of_several_priors_the_first_are_used(shape):
    """As the SSD branch's own test feeds them."""
    text = detection("")
    feeds = drawn(np.random.default_rng(3), 2, 7, 3)
    want = check_both(text, feeds=feeds)["y"]
    prior = feeds["prior"]
    several = np.concatenate([prior, prior + 7]).reshape(shape)
    inputs = {"prior": shape}
    got = check_both(text, feeds={**feeds, "prior": several}, inputs=inputs)["y"]
    np.testing.assert_array_equal(got, want)


def ssd(nms):
    """A small net that detects: predictions and priors of one map of cells of 8 pixels."""
    text = blob("d", 2, 3, 32, 48)
    text += layer("Pooling", "d", "pooling_param { pool: AVE kernel_size: 8 stride: 8 }", "p", "p")
    for what, channels in (("loc", 12), ("conf", 6)):
        text += layer(
            "Convolution",
            "p",
            f"convolution_param {{ num_output: {channels} "
            'kernel_size: 1 weight_filler { type: "xavier" } }',
            what,
            what,
        )
        text += layer(
            "Permute",
            [what],
            "permute_param { order: 0 order: 2 order: 3 order: 1 }",
            f"{what}_perm",
            f"{what}_perm",
        )
        text += layer("Flatten", [f"{what}_perm"], "", f"{what}_flat", f"{what}_flat")
    text += layer("PriorBox", "pd", "prior_box_param { min_size: 9 aspect_ratio: 2 }", "a", "a")
    text += layer("Concat", "a", "concat_param { axis: 2 }", "b", "b")
    return text + layer(
        "DetectionOutput",
        ["loc_flat", "conf_flat", "b"],
        "detection_output_param { num_classes: 2 code_type: CENTER_SIZE keep_top_k: 9 "
        f"confidence_threshold: 0.1 nms_param {{ {nms} }} }}",
    )


@pytest.mark.parametrize("nms", ["top_k: 20", "", "eta: 0.7 nms_threshold: 0.8"])
def test_one_model_for_every_size(nms):
    open_ = {"d": (None, 3, None, None)}
    others = [{"d": (2, 3, 32, 48)}, {"d": (1, 3, 64, 40)}, {"d": (3, 3, 16, 80)}]
    check_varying(ssd(nms), open_, others)


def test_nodes():
    """What the priors alone decide is folded, and nothing asks for a shape that is known."""
    model = simplify(lower(make(ssd("top_k: 20")))).model
    made = [node.op_type for node in model.graph.node]
    assert made.count("NonMaxSuppression") == 1
    assert made.count("TopK") == 2
    assert made.count("Shape") == 1  # how many boxes stay
    assert not {"Loop", "Scan", "If", "Range", "PriorBox"} & set(made)
    assert made.count("Concat") == 3  # the corners, the rows, the row where nothing is found
    assert "Scan" in operators(ssd("eta: 0.7 nms_threshold: 0.8"))


@pytest.mark.parametrize("opset", [18, 21, 23])
@pytest.mark.parametrize("eta", [1, 0.8])
def test_every_opset(opset, eta):
    text = detection(f"nms_param {{ nms_threshold: 0.7 eta: {eta} }} keep_top_k: 9", 2, 30, 3)
    check_both(text, feeds=drawn(np.random.default_rng(6), 2, 30, 3), opset=opset)


def test_a_prior_without_extent():
    text = detection("code_type: CENTER_SIZE", 1, 2, 2)
    feeds = drawn(np.random.default_rng(3), 1, 2, 2)
    feeds["prior"][0, 0, 4:] = (0.5, 0.2, 0.5, 0.4)
    with pytest.raises(ShapeError, match="prior 1 has no width or height"):
        make(text).forward(feeds)
    clipped = prior_box("min_size: 9 step: 60 clip: true", cells=(1, 1, 2, 2))
    text = (
        blob("loc", 1, 16)
        + blob("conf", 1, 8)
        + clipped
        + layer(
            "DetectionOutput",
            ["loc", "conf", "y"],
            "detection_output_param { num_classes: 2 code_type: CENTER_SIZE }",
            "o",
            "o",
        )
    )
    with pytest.raises(ShapeError, match=r"'o' \(DetectionOutput\): prior 2 has no width or heigh"):
        lower(make(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (detection("").replace("num_classes: 3", ""), "must specify num_classes"),
        (detection("").replace("num_classes: 3", "num_classes: 4294967295"), "number of priors"),
        (detection("nms_param { nms_threshold: -1 }"), "nms_threshold must be non negative: -1"),
        (detection("nms_param { eta: 0 }"), "eta must be above 0 and at most 1, and is 0"),
        (detection("nms_param { eta: 1.5 }"), "eta must be above 0 and at most 1, and is 1.5"),
        (detection("background_label_id: -1"), "background_label_id -1"),
        (
            detection("").replace("dim: 28", "dim: 27", 1),
            "number of location predictions: 7 priors of 4 for (2, 27)",
        ),
        (
            detection("").replace("dim: 21", "dim: 20"),
            "number of confidence predictions: 7 priors of 3 for (2, 20)",
        ),
        (detection("share_location: false"), "7 priors of 12 for (2, 28)"),
        (detection("").replace("dim: 2 dim: 21", "dim: 3 dim: 21"), "dimension: 2 and 3"),
        (
            detection("").replace("dim: 1 dim: 2 dim: 28", "dim: 2 dim: 28"),
            "needs priors of shape (1, 2, 4 P), and has (2, 28)",
        ),
        (detection("").replace("dim: 1 dim: 2 dim: 28", "dim: 1 dim: 1 dim: 28"), "(1, 1, 28)"),
        (detection("").replace("dim: 2 dim: 21", "dim: 42"), "needs bottoms of 2 to 4 axes"),
    ],
)
def test_detection_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (DetectionOutput)")) as error:
        make(text)
    assert message in str(error.value)


@st.composite
def detections(draw):
    """Any parameters, and predictions with and without ties."""
    images, priors, classes = (draw(st.integers(1, n)) for n in (3, 24, 4))
    shared, eta = draw(st.booleans()), draw(st.sampled_from([1, 1, 0.9, 0.5]))
    body = [
        f"code_type: {draw(st.sampled_from(['CORNER', 'CENTER_SIZE', 'CORNER_SIZE']))}",
        f"variance_encoded_in_target: {str(draw(st.booleans())).lower()}",
        f"background_label_id: {draw(st.integers(0, classes))}",
        f"nms_param {{ nms_threshold: {draw(st.floats(0, 1)):.3f} eta: {eta} "
        f"top_k: {draw(st.integers(-1, 30))} }}",
        f"keep_top_k: {draw(st.integers(-1, 20))}",
        f"clip: {str(draw(st.booleans())).lower()}",
    ]
    if draw(st.booleans()):
        body.append(f"confidence_threshold: {draw(st.floats(0, 1)):.3f}")
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    feeds = drawn(rng, images, priors, classes, shared, draw(st.booleans()))
    return detection(" ".join(body), images, priors, classes, shared), feeds


@given(detections())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_detection(case):
    text, feeds = case
    made = check_both(text, feeds=feeds)["y"]
    order = [(image, label, -score) for image, label, score in made[0, 0, :, :3]]
    assert order == sorted(order)


def test_lowered_rows_are_those_of_numpy_bit_for_bit():
    """Without exp there is nothing to round otherwise, ties included."""
    feeds = drawn(np.random.default_rng(4), 3, 40, 4, ties=True)
    net = make(detection("code_type: CORNER_SIZE keep_top_k: 30", 3, 40, 4))
    assert np.array_equal(run_onnx(net, feeds)["y"], net.forward(feeds)["y"])


def test_boxes_in_pixels_are_refused():
    with pytest.raises(UnsupportedError, match="normalized_bbox: false is OpenCV's"):
        make(detection("normalized_bbox: false"))
    assert make(detection("normalized_bbox: true"))
