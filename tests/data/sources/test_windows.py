"""WindowData's file, and windows that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.data import batches
from caffe_compat.data.sources.window_file import read_windows, split
from caffe_compat.errors import ParseError, ShapeError

from ..cases import IMAGES

GOOD = "# 0\na.png\n3\n15\n12\n2\n1 0.9 1 2 8 9\n0 0.1 0 0 4 4\n"


def test_a_window_file(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_text(GOOD + "# 1\nb.jpg 3 14 18 1 2 0.5 3 3 9 9")
    found = read_windows(path)
    assert (found.images, found.channels) == (["a.png", "b.jpg"], 3)
    background, objects = split(found, 0.5, 0.5)
    assert background.tolist() == [[0, 0, 0, 0, 4, 4]]
    assert objects.tolist() == [[0, 1, 1, 2, 8, 9], [1, 2, 3, 3, 9, 9]]


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "the window file is empty"),
        ("a.png 3", "image 0 begins with 'a.png 3' and not with '# 0'"),
        (GOOD + "# 2 b", "image 1 begins with '# 2' and not with '# 1'"),
        (GOOD[:-3], "cut short in image 0"),
        (GOOD.replace(" 9\n", f" {10**20}\n"), "image 0: 10{19} has more than 32 bits"),
        ("# 0 a.png 3 5 5 1 one", "image 0: invalid literal"),
    ],
)
def test_what_is_no_window_file(tmp_path, text, says):
    path = tmp_path / "windows.txt"
    path.write_text(text)
    with pytest.raises(ParseError, match=f"windows.txt: {says}"):
        read_windows(path)


def net(tmp_path, text, transform="crop_size: 6", fields=""):
    (tmp_path / "windows.txt").write_text(text)
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "w" type: "WindowData" top: "data" top: "label"'
        f" transform_param {{ {transform} }} window_data_param {{ batch_size: 4 {fields}"
        f' source: "{tmp_path}/windows.txt" root_folder: "{IMAGES}/" }} }}'
    )
    return path


@pytest.mark.parametrize(
    "text, transform, fields, says",
    [
        (GOOD, "", "", "crop_size must be positive"),
        (GOOD.replace("1 0.9", "0 0.9"), "crop_size: 6", "", "the label 0; it must be above 0"),
        (GOOD.replace("0 0.1", "1 0.9"), "crop_size: 6", "", "2 windows of objects and 0 of back"),
        (GOOD.replace("\n3\n", "\n1\n"), "crop_size: 6", "", "gives 1 channels; Caffe reads"),
        (GOOD, "crop_size: 6", "context_pad: 3", "context_pad 3 leaves nothing of crop_size 6"),
        (GOOD, "crop_size: 6 mean_value: 1 mean_value: 2", "", "gives 2 mean_value; 1 or 3"),
    ],
)
def test_what_caffe_refuses(tmp_path, text, transform, fields, says):
    with pytest.raises(ShapeError, match=says):
        batches(net(tmp_path, text, transform, fields))


def test_a_window_outside_its_image(tmp_path):
    text = GOOD.replace("0 0 4 4", "5 5 40 40")
    with (
        batches(net(tmp_path, text)) as reader,
        pytest.raises(
            ShapeError, match=r"image 0: window \(5, 5, 40, 40\): does not fit the image"
        ),
    ):
        next(reader)


def test_an_image_that_cannot_be_read(tmp_path):
    text = GOOD + "# 1\ngone.png 3 9 9 2 1 0.9 0 0 4 4 0 0 1 1 5 5\n"
    with (
        batches(net(tmp_path, text)) as reader,
        pytest.raises(ParseError, match=r"layer 'w' .*windows.txt: image 1: .*gone.png: no such"),
    ):
        for _ in range(4):
            next(reader)
    with (
        batches(net(tmp_path, text), skip_bad=True) as reader,
        batches(net(tmp_path, GOOD)) as good,
    ):
        expected = {tuple(item.ravel()) for item in next(good)["data"]}
        for _ in range(3):
            for item in next(reader)["data"]:
                assert tuple(item.ravel()) in expected
        assert list(reader.skipped) == [f"{tmp_path}/windows.txt: image 1"]


def test_context_that_reaches_over_the_border_is_zero(tmp_path):
    text = GOOD.replace("1 2 8 9", "0 0 11 14").replace("0 0 4 4", "0 0 11 14")
    with batches(net(tmp_path, text, "crop_size: 20", "context_pad: 4 fg_fraction: 0")) as reader:
        item = next(reader)["data"][0]
    assert not item[:, :3].any()
    assert not item[:, :, -3:].any()
    assert np.all(item[:, 5:-5, 5:-5] > 0)
