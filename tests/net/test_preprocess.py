"""Preprocessing against caffe.io.Transformer itself, and the same inside an ONNX model.

golden/transformer/cases.npz: the outputs of caffe.io.Transformer (BVLC Caffe 1.0) for `picture`,
RGB, over the warp of scikit-image 0.13.1, channels swapped to BGR and pixels scaled to 255 (but
not in `unit_rgb`), with the means 104, 117, 123, or the image `mean`.
"""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import TEST, BlobProto, NetParameter
from caffe_compat.errors import ParseError, ShapeError
from caffe_compat.images.reader import read
from caffe_compat.net.preprocess import PRESETS, Preprocess, from_prototxt, mean_array
from caffe_compat.prototxt import upgrade
from caffe_compat.prototxt.phase import select

from ..cases import GOLDEN

with np.load(GOLDEN / "transformer" / "cases.npz") as _held:
    CASES = dict(_held)
BGR_MEAN = (104, 117, 123)


@pytest.mark.parametrize(
    ("case", "preprocess", "size"),
    [
        ("imagenet", Preprocess(mean=BGR_MEAN), (7, 9)),
        ("larger", Preprocess(mean=BGR_MEAN, scale=0.017), (17, 21)),
        ("mean_same", Preprocess(mean=CASES["mean"]), (6, 5)),
        ("mean_resized", Preprocess(mean=CASES["mean"]), (8, 10)),
        ("unit_rgb", PRESETS["unit"], (9, 4)),
    ],
)
def test_caffes_transformer(case, preprocess, size):
    x = preprocess(CASES["picture"], (1, 3, *size))
    want = CASES[case]
    assert x.dtype == np.float32
    assert np.abs(x - want).max() <= 3e-7 * max(255, np.abs(want).max() * 2)


def test_mtcnn_preset_makes_what_real_caffe_was_fed():
    with np.load(GOLDEN / "models" / "mtcnn_det1" / "astronaut_io.npz") as io:
        want = io["in:data"]
    picture = read(GOLDEN.parents[1] / "examples" / "mtcnn" / "astronaut.png")
    x = PRESETS["mtcnn"](picture, want.shape)
    assert np.abs(x - want[0]).max() < 3e-7


def test_caffes_transform_param(tmp_path):
    mean = np.arange(3 * 11 * 13, dtype=np.float32).reshape(3, 11, 13)
    blob = BlobProto(data=mean.ravel())
    blob.shape.dim.extend((1, 3, 11, 13))
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    net = net_of('transform_param { mean_file: "mean.binaryproto" scale: 0.5 crop_size: 6 }')
    x = from_prototxt(net, tmp_path)(CASES["picture"], (1, 3, 6, 6))
    whole = (CASES["picture"][..., ::-1].transpose(2, 0, 1).astype(np.float32) - mean) * 0.5
    np.testing.assert_array_equal(x, whole[:, 2:8, 3:9])  # (11 - 6) // 2, (13 - 6) // 2


def test_transform_param_with_values_and_image_size():
    net = net_of(
        "transform_param { mean_value: 1 mean_value: 2 mean_value: 3 crop_size: 5 }"
        "image_data_param { batch_size: 2 new_height: 8 new_width: 9 }",
        "ImageData",
    )
    assert from_prototxt(net, ".") == Preprocess(resize=(8, 9), crop=(5, 5), mean=(1, 2, 3))
    assert from_prototxt(NetParameter(), ".") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mean_file: "../secret"', "is not in the prototxt's folder"),
        ('mean_file: "/etc/passwd"', "is not in the prototxt's folder"),
        ('mean_file: "none"', "is not in the prototxt's folder"),
        ('mean_file: "x" mean_value: 3', "both mean_file and mean_value"),
        ("force_color: true force_gray: true", "both force_color and force_gray"),
    ],
)
def test_transform_param_refused(tmp_path, text, message):
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "net").mkdir()
    with pytest.raises((ParseError, ShapeError), match=message):
        from_prototxt(net_of(f"transform_param {{ {text} }}"), tmp_path / "net")


def test_a_net_of_one_channel_gets_grey():
    x = Preprocess()(CASES["picture"], (2, 1, 11, 13))
    red, green, blue = CASES["picture"].transpose(2, 0, 1).astype(np.float64)
    np.testing.assert_array_equal(
        x[0], np.floor((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536)
    )


def test_open_sizes_keep_the_picture_as_it_is():
    x = Preprocess(order="rgb")(CASES["picture"], (1, 3, None, None))
    np.testing.assert_array_equal(x, CASES["picture"].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("preprocess", "dims", "message"),
    [
        (Preprocess(), (1, 4, 5, 6), "1 or 3 channels, and the net's input is 1x4x5x6"),
        (Preprocess(), (1, 10), "the net's input is 1x10"),
        (Preprocess(resize=(20, 20)), (1, 3, 24, 24), "cannot crop 24x24 out of 20x20"),
        (Preprocess(crop=(5, 6)), (1, 3, 7, 7), "crop 5x6 is not the net's input, 7x7"),
        (Preprocess(crop=(50, 50)), (1, 3, None, None), "cannot crop 50x50 out of 11x13"),
        (Preprocess(mean=(1, 2)), (1, 3, 7, 7), "2 mean values for 3 channels"),
        (Preprocess(mean=np.zeros((1, 7, 7))), (1, 3, 7, 7), "mean is 1x7x7, and the net has 3"),
    ],
)
def test_sizes_that_do_not_fit(preprocess, dims, message):
    with pytest.raises(ShapeError, match=message):
        preprocess(CASES["picture"], dims)


def test_mean_files_that_are_none(tmp_path):
    (tmp_path / "m.npy").write_bytes(b"not numpy")
    with pytest.raises(ParseError, match=r"m\.npy: not a \.npy file"):
        mean_array(tmp_path / "m.npy")
    np.save(tmp_path / "n.npy", np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="a mean image is CxHxW, and this is 2x3"):
        mean_array(tmp_path / "n.npy")
    np.save(tmp_path / "v.npy", np.array([1, 2, 3]))
    assert mean_array(tmp_path / "v.npy").shape == (3, 1, 1)


def net_of(fields, kind="Data"):
    text = f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" {fields} }}'
    return select(upgrade.upgrade(text_format.Parse(text, NetParameter())), TEST)
