"""Labels, best classes, detections, and counts of NaN."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ParseError, ShapeError
from caffe_compat.images import decode
from caffe_compat.images.decode import Class, Detection
from caffe_compat.images.predictor import Result


def test_labels_are_one_a_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a cat\n\n  b \n\n\n")
    assert decode.read_labels(path) == ["a cat", "", "b"]
    for data, message in ((b"", "no labels in it"), (b"a\0b", "not a text file of labels")):
        path.write_bytes(data)
        with pytest.raises(ParseError, match=rf"labels\.txt: {message}"):
            decode.read_labels(path)


def test_best_classes_by_score_then_index_and_nan_last():
    array = np.array([0.5, np.nan, 0.75, 0.5], np.float32)
    best = decode.top(array, 4, list("abcd"))
    assert best[:3] == [Class(2, "c", 0.75), Class(0, "a", 0.5), Class(3, "d", 0.5)]
    assert (best[3].index, np.isnan(best[3].score)) == (1, True)
    assert decode.top(array, 1) == [Class(2, None, 0.75)]
    with pytest.raises(ShapeError, match="3 labels for the 4 classes of 'prob'"):
        decode.check_labels(list("abc"), "prob", 4)


ROWS = np.array(
    [[0, 1, 0.25, 0, 0, 1, 1], [0, 2, 0.75, 0.25, 0.5, 0.75, 1], [0, 1, 0.5, 0, 0, 0.5, 0.5]],
    np.float32,
)


def test_detections_are_in_pixels_of_the_image():
    """The net saw the lower half of an image 40 high and 100 wide."""
    result = Result("a", size=(40, 100), window=(0.5, 0, 0.5, 1))
    assert decode.detections(result, ROWS, 0.5, list("abc")) == [
        Detection(2, "c", 0.75, (25, 30, 75, 40)),
        Detection(1, "b", 0.5, (0, 20, 50, 30)),
    ]
    assert len(decode.detections(result, ROWS)) == 3
    with pytest.raises(ShapeError, match="2 labels, and a detection of class 2"):
        decode.detections(result, ROWS, 0.5, list("ab"))


def test_nan_is_counted_in_floats():
    outputs = {"a": np.array([1, np.nan, np.nan]), "b": np.zeros(3), "c": np.arange(3)}
    assert decode.count_nan(outputs) == {"a": 2}


def test_json_has_no_infinities():
    assert [decode.finite(x) for x in (1.5, float("nan"), float("-inf"))] == [1.5, None, None]


@pytest.mark.parametrize(
    ("data", "label"),
    [
        ("Süßwasser\n".encode("latin-1"), "Süßwasser"),
        ("Süßwasser\n".encode("utf-16"), "Süßwasser"),
        (b"\xef\xbb\xbfcat\r\n", "cat"),
        ("冰箱\n".encode("gbk"), "冰箱".encode("gbk").decode("latin-1")),
    ],
)
def test_labels_of_any_encoding(tmp_path, data, label):
    (tmp_path / "labels.txt").write_bytes(data)
    assert decode.read_labels(tmp_path / "labels.txt") == [label]
