"""ImageData's list, and images that are not there."""

from __future__ import annotations

import pytest

from caffe_compat.data import batches
from caffe_compat.data.sources.image_list import Line, read_list
from caffe_compat.errors import ParseError, ShapeError

from ..cases import IMAGES


def test_lines_are_split_at_the_last_space(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"a b.png 7\r\nc.png\nd.png -3x\ne.png  +5\n\nf\xff.png cat")
    assert read_list(path) == [
        Line(1, "a b.png", 7),
        Line(2, "c.png", 0),
        Line(3, "d.png", -3),
        Line(4, "e.png ", 5),
        Line(5, "", 0),
        Line(6, "f\udcff.png", 0),
    ]


def test_a_label_that_is_no_number_is_caffes_and_named(tmp_path, caplog):
    path = tmp_path / "list.txt"
    path.write_text("a.png +1\r\nb.png\n\nc.png \na b.png -2\n")
    read_list(path)
    assert caplog.text == ""
    path.write_text("a.png 1\nb.png zero\nmy cat.png\nd.png 1.5\n")
    assert [line.label for line in read_list(path)] == [1, 0, 0, 1]  # convert_imageset.cpp: atoi
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: line 2: the label 'zero' is not a whole number and is read as 0, as by Caffe "
        "(2 more such lines)"
    )


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "the file is empty"),
        (b"a.png \0", "a binary file"),
        (b"a.png " + b"9" * 5000, "line 1: label 99999999999999999999 has more than 32 bits"),
        (b"a.png 1\nb.png 2147483648\n", "line 2: label 2147483648 has more than 32 bits"),
    ],
)
def test_what_is_no_list(tmp_path, data, says):
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    with pytest.raises(ParseError, match=f"list.txt: {says}"):
        read_list(path)


def net(tmp_path, lines, fields=""):
    (tmp_path / "list.txt").write_text(lines)
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "i" type: "ImageData" top: "data" top: "label"'
        f' image_data_param {{ source: "{tmp_path}/list.txt" root_folder: "{IMAGES}/" {fields} }}'
        " }"
    )
    return path


def test_a_missing_image_is_named_by_its_line(tmp_path):
    with (
        batches(net(tmp_path, "a.png 1\ngone.png 2\n")) as reader,
        pytest.raises(ParseError, match=r"layer 'i' \(ImageData\): .*list.txt: line 2: .*gone.png"),
    ):
        for _ in range(2):
            next(reader)


def test_skip_bad_passes_over_it(tmp_path):
    lines = "a.png 1\ngone.png 2\na.png 3\n"
    with batches(net(tmp_path, lines, "batch_size: 2"), skip_bad=True) as reader:
        assert [next(reader)["label"].tolist() for _ in range(2)] == [[1, 3], [1, 3]]
        assert list(reader.skipped) == [f"{tmp_path}/list.txt: line 2"]


@pytest.mark.parametrize(
    "fields, says",
    [
        ("new_height: 5", "new_height 5, new_width 0: both or neither"),
        ("rand_skip: 900", "rand_skip passes over .* of 1 images"),
        ("batch_size: 0", "batch_size must be positive"),
    ],
)
def test_what_caffe_refuses(tmp_path, fields, says):
    with pytest.raises(ShapeError, match=says):
        batches(net(tmp_path, "a.png 1\n", fields))


def test_a_list_that_has_changed_is_noticed(tmp_path):
    path = net(tmp_path, "a.png 1\na.png 2\n")
    with batches(path) as reader:
        next(reader)
        state = reader.state()
    net(tmp_path, "a.png 1\na.png 2\na.png 3\n")
    with batches(path) as reader, pytest.raises(ParseError, match="has 3 lines, and had 2"):
        reader.restore(state)
