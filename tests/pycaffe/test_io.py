"""caffe.io: messages to arrays and back, images to inputs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import caffe_compat.pycaffe as caffe
from caffe_compat.errors import CaffeCompatError
from caffe_compat.pycaffe import extras

io = caffe.io


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(size=(7, 9, 3)).astype(np.float32)


# -- messages --------------------------------------------------------------------------------


def test_blobproto_of_any_shape():
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    blob = io.array_to_blobproto(data, diff=-data)
    assert np.array_equal(io.blobproto_to_array(blob), data)
    assert np.array_equal(io.blobproto_to_array(blob, return_diff=True), -data)
    assert io.blobproto_to_array(blob).dtype == np.float64


def test_a_legacy_blobproto_has_four_axes():
    blob = caffe.proto.caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3, data=range(6))
    assert io.blobproto_to_array(blob).shape == (1, 2, 1, 3)


def test_a_vector_of_blobs():
    arrays = [np.ones((2, 2)), np.arange(3.0)]
    back = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str(arrays))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))


def test_datum_of_bytes_and_of_floats():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    datum = io.array_to_datum(pixels, label=3)
    assert datum.label == 3
    assert datum.data == pixels.tobytes()
    assert np.array_equal(io.datum_to_array(datum), pixels)
    assert io.datum_to_array(datum).dtype == np.uint8
    floats = io.array_to_datum(pixels / 2)
    assert not floats.data
    assert np.array_equal(io.datum_to_array(floats), pixels / 2)
    with pytest.raises(ValueError, match="Incorrect array shape"):
        io.array_to_datum(pixels[0])


# -- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "color", "shape"),
    [("RGB", True, 3), ("RGBA", True, 3), ("L", True, 3), ("L", False, 1), ("RGB", False, 1)],
)
def test_load_image(tmp_path, mode, color, shape):
    rng = np.random.default_rng(0)
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = rng.integers(0, 256, (4, 5, *bands), np.uint8)
    Image.fromarray(pixels, mode=None).save(tmp_path / "a.png")
    loaded = io.load_image(str(tmp_path / "a.png"), color)
    assert loaded.shape == (4, 5, shape)
    assert loaded.dtype == np.float32
    want = pixels[..., None] if mode == "L" else pixels[..., :3]
    if color or mode == "L":
        assert np.allclose(loaded, want / 255, atol=1e-7)
    else:
        luma = pixels @ [0.2125, 0.7154, 0.0721]  # scikit-image's
        assert np.allclose(loaded[..., 0], luma / 255, atol=1e-6)


def test_resize_interpolates_linearly_and_does_not_smooth():
    ramp = np.tile(np.arange(8.0)[None, :, None], (4, 1, 3))
    half = io.resize_image(ramp, (4, 4))
    assert half.dtype == np.float32
    assert np.allclose(half[1, :, 0], [0.5, 2.5, 4.5, 6.5], atol=1e-6)
    fourth = io.resize_image(ramp, (4, 2))  # smoothing would move these towards the mean
    assert np.allclose(fourth[1, :, 0], [1.5, 5.5], atol=1e-6)


def test_resize_of_constants_and_of_many_channels(image):
    assert (io.resize_image(np.full((3, 4, 3), 7.0), (5, 6)) == 7).all()
    many = np.dstack([image, image])
    assert io.resize_image(many, (14, 18)).shape == (14, 18, 6)
    assert np.array_equal(io.resize_image(many, (7, 9)), many)


def test_oversample_is_four_corners_the_center_and_their_mirrors(image):
    crops = io.oversample([image, image + 1], (4, 5))
    assert crops.shape == (20, 4, 5, 3)
    want = [image[y : y + 4, x : x + 5] for y, x in ((0, 0), (0, 4), (3, 0), (3, 4), (1, 2))]
    assert np.array_equal(crops[:5], want)
    assert np.array_equal(crops[5:10], np.array(want)[:, :, ::-1])
    assert np.array_equal(crops[10:], crops[:10] + 1)


# -- the transformer -------------------------------------------------------------------------


def make_transformer():
    transformer = io.Transformer({"data": (1, 3, 7, 9)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.array([10.0, 20.0, 30.0]))
    transformer.set_input_scale("data", 0.5)
    return transformer


def test_preprocess_and_deprocess(image):
    transformer = make_transformer()
    out = transformer.preprocess("data", image)
    want = (image.transpose(2, 0, 1)[::-1] * 255 - np.array([10, 20, 30])[:, None, None]) * 0.5
    assert np.allclose(out, want, atol=1e-4)
    assert np.allclose(transformer.deprocess("data", out[None]), image, atol=1e-6)


def test_preprocess_resizes(image):
    out = make_transformer().preprocess("data", np.kron(image, np.ones((2, 2, 1))))
    assert out.shape == (3, 7, 9)


def test_the_mean_may_be_an_image_of_another_size():
    transformer = make_transformer()
    transformer.set_mean("data", np.tile(np.arange(18.0), (3, 14, 1)))
    assert transformer.mean["data"].shape == (3, 7, 9)
    assert np.allclose(transformer.mean["data"][1, 3], np.arange(0.5, 18, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.set_mean("x", np.ones(3)), "x is not one of the net inputs"),
        (lambda t: t.set_transpose("data", (0, 1)), "same number of dimensions as the input"),
        (lambda t: t.set_channel_swap("data", (0, 1)), "as the input channels"),
        (lambda t: t.set_mean("data", np.ones(4)), "Mean channels incompatible with input"),
        (lambda t: t.set_mean("data", np.ones((1, 1, 1, 1))), "Mean shape invalid"),
    ],
)
def test_settings_that_do_not_fit(call, words):
    with pytest.raises(Exception, match=words):
        call(make_transformer())


# -- classifier and detector -----------------------------------------------------------------

NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip'
  inner_product_param { num_output: 5 weight_filler { type: 'gaussian' std: 0.1 } } }
layer { name: 'prob' type: 'Softmax' bottom: 'ip' top: 'prob' }
"""


@pytest.fixture
def files(build, tmp_path):
    net, weights = build(NET), str(tmp_path / "w.caffemodel")
    net.save(weights)
    return str(tmp_path / "net.prototxt"), weights


def test_classifier_averages_over_crops(files, image):
    classifier = caffe.Classifier(
        *files, image_dims=(8, 8), mean=np.ones(3), raw_scale=255, channel_swap=(2, 1, 0)
    )
    images = [image, image[:, ::-1]]
    center, averaged = (classifier.predict(images, oversample=o) for o in (False, True))
    assert center.shape == averaged.shape == (2, 5)
    resized = io.resize_image(image, (8, 8))

    def one(crop):
        x = crop.transpose(2, 0, 1)[::-1] * 255 - 1
        return classifier.forward_all(data=x[None])["prob"][0]

    assert np.allclose(center[0], one(resized[1:7, 1:7]), atol=1e-6)
    crops = io.oversample([resized], (6, 6))
    assert np.allclose(averaged[0], np.mean([one(c) for c in crops], axis=0), atol=1e-6)
    assert np.allclose(averaged[0], averaged[1], atol=1e-5)  # its own mirror image


def test_detector_classifies_windows(files, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    windows = np.array([[2, 3, 14, 15], [0, 0, 20, 24]])
    detector = caffe.Detector(*files, mean=np.ones(3), raw_scale=255)
    found = detector.detect_windows([(str(tmp_path / "a.png"), windows)])
    assert [list(each["window"]) for each in found] == windows.tolist()
    image = io.load_image(str(tmp_path / "a.png"))
    crop = detector.transformer.preprocess("data", image[2:14, 3:15].copy())
    want = detector.forward_all(data=crop[None])["prob"][0]
    assert np.allclose(found[0]["prediction"], want, atol=1e-6)


def test_detector_shows_context_around_a_window(files, tmp_path):
    detector = caffe.Detector(*files, mean=np.full(3, 128.0), raw_scale=255, context_pad=1)
    image = np.full((20, 20, 3), 0.25, np.float32)
    image[6:14, 6:14] = np.linspace(0.2, 0.9, 8)[:, None, None]
    crop = detector.crop(image, np.array([6, 6, 13, 13]))
    assert crop.shape == (6, 6, 3)
    assert crop.min() >= 0.2 - 1e-6
    corner = detector.crop(image, np.array([0, 0, 7, 7]))
    assert np.allclose(corner[0, 0], 128 / 255)  # beyond the edge: the mean


# -- what is not installed -------------------------------------------------------------------


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(CaffeCompatError, match=r"scikit-image.*caffe_compat\[pycaffe\]"):
        extras.load("skimage.io")
