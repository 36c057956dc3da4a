"""AnnotatedData: what it refuses; its numbers are among the recordings."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import AnnotatedDatum, Datum
from caffe_compat.data import batches
from caffe_compat.errors import CaffeCompatError, ParseError

from ..cases import database, open_case, pixels


def annotated(image, *, kind=True, label=None, boxes=(), **fields):
    record = AnnotatedDatum(datum=Datum(label=label, data=image.tobytes(), **fields))
    record.datum.channels, record.datum.height, record.datum.width = image.shape
    if kind:
        record.type = AnnotatedDatum.BBOX
    for box in boxes:
        its = record.annotation_group.add(group_label=1).annotation.add().bbox
        its.xmin, its.ymin, its.xmax, its.ymax = box
    return record.SerializeToString()


def net(tmp_path, values, transform="", batch=1, more="", tops='top: "label"'):
    source = database(tmp_path / "db", values)
    path = tmp_path / "net.prototxt"
    path.write_text(
        f'layer {{ name: "a" type: "AnnotatedData" top: "data" {tops}'
        f" transform_param {{ {transform} }} annotated_data_param {{ {more} }}"
        f' data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}'
    )
    return path


IMAGE = pixels(1)[0]


@pytest.mark.parametrize(
    "transform, more, says",
    [
        ("force_color: true force_gray: true", "", "both force_color and force_gray"),
        ("mean_file: 'm' mean_value: 1", "", "mean_file 'm': no such file|both mean_file and"),
        ("resize_param { height: 3 }", "", "height 3 and width 0 must be positive"),
        ("expand_param { max_expand_ratio: 1 }", "", "max_expand_ratio must be above 1"),
        ("noise_param { convert_to_lab: true }", "", "convert_to_lab makes floats"),
        ("noise_param { saltpepper: true }", "", "saltpepper needs a saltpepper_param.value"),
        ("", "batch_sampler { sampler { min_scale: 0 } }", "sampler: 0 < min_scale 0"),
        ("crop_size: 7", "", "crop 7x7 exceeds the image's 6x7"),
        ("mean_value: 1 mean_value: 2", "", "gives 2 mean_value for 3 channels"),
    ],
)
def test_what_the_branch_refuses(tmp_path, transform, more, says):
    with pytest.raises(CaffeCompatError, match=rf"layer 'a' \(AnnotatedData\): .*{says}"):
        batches(net(tmp_path, [annotated(IMAGE)], transform, more=more))


@pytest.mark.parametrize(
    "values, transform, says",
    [
        ([annotated(IMAGE), annotated(IMAGE, kind=False)], "", "00000001.*has no type, as all"),
        ([annotated(IMAGE, kind=False)], "", "00000000.*has no label"),
        ([annotated(IMAGE)], "resize_param { height: 3 width: 3 }", "resizes encoded images, and"),
        ([annotated(IMAGE)], "crop_h: 2 crop_w: 2", "crop_h and crop_w need crop_size or mirror"),
        ([annotated(IMAGE), annotated(pixels(1, (3, 6, 8))[0])], "", "0001'.*in a batch of"),
    ],
)
def test_records_that_do_not_fit(tmp_path, values, transform, says):
    with (
        batches(net(tmp_path, values, transform, len(values))) as reader,
        pytest.raises(CaffeCompatError, match=says),
    ):
        next(reader)


def test_a_bad_record_is_named_or_passed_over(tmp_path):
    values = [annotated(IMAGE), b"\x0a\xff", annotated(IMAGE, encoded=True), annotated(IMAGE)]
    path = net(tmp_path, values, batch=2)
    with (
        batches(path) as reader,
        pytest.raises(ParseError, match="db: key '00000001': not an AnnotatedDatum"),
    ):
        next(reader)
    with batches(path, skip_bad=True) as reader:
        batch = next(reader)
        np.testing.assert_array_equal(batch["data"], [IMAGE, IMAGE])
        assert batch["label"].tolist() == [[[[-1] * 8]]]
        assert len(reader.skipped) == 2


def test_images_alone(tmp_path):
    with batches(net(tmp_path, [annotated(IMAGE, kind=False)], tops="")) as reader:
        assert list(next(reader)) == ["data"]


def test_fit_small_size_takes_one_image(tmp_path):
    transform = "resize_param { resize_mode: FIT_SMALL_SIZE height: 9 width: 9 }"
    with pytest.raises(CaffeCompatError, match="FIT_SMALL_SIZE wants batch_size 1, and has 2"):
        batches(net(tmp_path, [annotated(IMAGE)], transform, batch=2))


def test_ranks_take_every_other_image():
    whole, _ = open_case("annotated_test_png")
    with whole:
        images = np.concatenate([next(whole)["data"] for _ in range(2)])
    # In TEST every rank reads all.
    part, _ = open_case("annotated_test_png", rank=1, ranks=2)
    with part:
        np.testing.assert_array_equal(next(part)["data"], images[:3])
