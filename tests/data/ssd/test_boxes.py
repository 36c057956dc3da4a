"""Geometry of boxes, beside bbox_util.cpp's formulas box by box."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import AnnotatedDatum, EmitConstraint, ResizeParameter
from caffe_compat.data.ssd import boxes as geometry
from caffe_compat.data.ssd.boxes import Boxes
from caffe_compat.errors import ShapeError

CORNERS = st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4)


def made(*corners):
    count = len(corners)
    return Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.full(count, np.nan, np.float32),
        np.arange(count),
        np.arange(count) + 10,
        np.zeros(count, bool),
    )


def area(box):
    width, height = box[2] - box[0], box[3] - box[1]
    return np.float32(0) if width < 0 or height < 0 else width * height


def common(a, b):
    if b[0] > a[2] or b[2] < a[0] or b[1] > a[3] or b[3] < a[1]:
        return np.zeros(4, np.float32)
    return np.array([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])


@given(cuts=st.lists(CORNERS, min_size=1, max_size=3), corners=st.lists(CORNERS, max_size=4))
def test_overlaps_are_those_of_each_pair(cuts, corners):
    cuts, boxes = np.array(cuts, np.float32), made(*corners)
    overlaps = geometry.jaccard(cuts, boxes)
    of_cut, of_boxes = (geometry.coverage(cuts, boxes, of=of) for of in ("cut", "boxes"))
    assert overlaps.shape == of_cut.shape == (len(cuts), len(corners))
    for i, cut in enumerate(cuts):
        for j, box in enumerate(boxes.corners):
            part = common(cut, box)
            width, height = part[2] - part[0], part[3] - part[1]
            both = width * height
            expected = np.float32(0)
            if width > 0 and height > 0:
                expected = both / (area(cut) + area(box) - both)
            assert overlaps[i, j] == expected
            inside = area(part)
            assert of_cut[i, j] == (inside / area(cut) if inside > 0 else 0)
            assert of_boxes[i, j] == (inside / area(box) if inside > 0 else 0)


@given(cut=CORNERS, corners=st.lists(CORNERS, max_size=4))
def test_a_cut_sees_what_lies_in_it(cut, corners):
    cut, boxes = np.array(cut, np.float32), made(*corners)
    if not (cut[2:] > cut[:2]).all():
        return
    found = geometry.project(cut, boxes)
    expected = []
    for j, box in enumerate(boxes.corners):
        if box[0] >= cut[2] or box[2] <= cut[0] or box[1] >= cut[3] or box[3] <= cut[1]:
            continue
        extent = np.array([cut[2] - cut[0], cut[3] - cut[1]] * 2)
        seen = np.clip((box - np.array([cut[0], cut[1]] * 2)) / extent, 0, 1).astype(np.float32)
        if area(seen) > 0:
            expected.append((j, seen.tolist()))
    assert found.labels.tolist() == [j for j, _ in expected]
    assert found.corners.tolist() == [seen for _, seen in expected]
    np.testing.assert_array_equal(found.sizes, [area(box) for box in found.corners])


def test_a_stated_size_is_believed():
    boxes = made([0, 0, 0.5, 0.5])._replace(sizes=np.array([0.01], np.float32))
    cuts = np.array([[0, 0, 1, 1]], np.float32)
    assert geometry.coverage(cuts, boxes, of="boxes")[0, 0] == np.float32(0.25) / np.float32(0.01)


def test_what_a_constraint_lets_through():
    boxes = made([0, 0, 0.4, 0.4], [0.3, 0.3, 0.9, 0.9], [0.6, 0.6, 1, 1])
    cut = np.array([0, 0, 0.5, 0.5], np.float32)
    assert geometry.emitted(EmitConstraint(), cut, boxes).tolist() == [True, False, False]
    least = EmitConstraint(emit_type=EmitConstraint.MIN_OVERLAP, emit_overlap=0.1)
    assert geometry.emitted(least, cut, boxes).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "mode, image, expected",
    [
        ("WARP", (10, 40), [0.1, 0.2, 0.9, 0.8]),
        ("FIT_LARGE_SIZE_AND_PAD", (10, 40), [0.1, 0.425, 0.9, 0.575]),
        ("FIT_LARGE_SIZE_AND_PAD", (40, 10), [0.4, 0.2, 0.6, 0.8]),
        ("FIT_SMALL_SIZE", (40, 10), [0.1, 0.2, 0.9, 0.8]),
    ],
)
def test_boxes_follow_the_resizing(mode, image, expected):
    p = text_format.Parse(f"height: 20 width: 20 resize_mode: {mode}", ResizeParameter())
    found = geometry.resize(p, image, made([0.1, 0.2, 0.9, 0.8]))
    np.testing.assert_allclose(found.corners, [expected], rtol=1e-6)


def test_boxes_need_the_images_size():
    p = ResizeParameter(height=3, width=3)
    with pytest.raises(ShapeError, match="the Datum gives no height and width"):
        geometry.resize(p, (0, 5), made([0, 0, 1, 1]))


def test_extrapolation_needs_a_cut_that_is_large_enough():
    text = "height: 20 width: 20 resize_mode: FIT_SMALL_SIZE height_scale: 10 width_scale: 5"
    p = text_format.Parse(text, ResizeParameter())
    whole = geometry.extrapolate(p, (20, 20), geometry.UNIT, made([0, 0.5, 1, 1]))
    np.testing.assert_array_equal(whole.corners, [[0, 1, 4, 2]])
    with pytest.raises(ShapeError, match="cut to 8x20, less than height_scale 10"):
        geometry.extrapolate(p, (20, 20), np.float32([0, 0, 1, 0.4]), made([0, 0, 1, 1]))


def test_mirrored_boxes():
    found = geometry.mirror(made([0.25, 0.1, 0.5, 0.2]))
    np.testing.assert_array_equal(found.corners, np.float32([[0.5, 0.1, 0.75, 0.2]]))


def test_groups_are_read_one_after_another():
    datum = AnnotatedDatum()
    for label, count in ((4, 2), (1, 0), (9, 1)):
        group = datum.annotation_group.add(group_label=label)
        for i in range(count):
            box = group.annotation.add(instance_id=i).bbox
            box.xmin, box.difficult = 0.1 * i, i == 1
    datum.annotation_group[2].annotation[0].bbox.size = 0.3
    found = geometry.read_boxes(datum)
    assert found.labels.tolist() == [4, 4, 9]
    assert found.instances.tolist() == [0, 1, 0]
    assert found.difficult.tolist() == [False, True, False]
    np.testing.assert_array_equal(found.sizes, np.float32([np.nan, np.nan, 0.3]))
