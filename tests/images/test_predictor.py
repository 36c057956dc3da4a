"""Images in batches: order, padding, sizes, and files that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError
from caffe_compat.images import reader
from caffe_compat.images.predictor import Predictor, chunks
from caffe_compat.net.preprocess import Preprocess
from caffe_compat.onnx.passes.bake import bake
from caffe_compat.pipeline import lower
from caffe_compat.runtime.session import Session

from ..cases import make

PREP = Preprocess(mean=(125, 123, 114))


def want(net, name):
    image = PREP(reader.read(name), (1, 3, 32, 32))[np.newaxis]
    return net.forward({"data": image})["prob"][0]


def test_results_are_in_order_and_a_bad_file_has_an_error(classifier, images):
    predictor = Predictor(Session(classifier, "cpu"), PREP)
    assert (predictor.input, predictor.batch, predictor.baked) == ("data", None, False)
    results = predictor([(name, None) for name in images])
    assert [result.name for result in results] == images
    for i, result in enumerate(results):
        if i == 4:
            assert result.error.endswith("4.png: not an image that Pillow can read")
            assert not result.outputs
            continue
        assert result.error is None
        assert result.size == (20 + i, 30)
        np.testing.assert_allclose(result.outputs["prob"], want(classifier, images[i]), atol=1e-5)


def test_bytes_are_read_in_place_of_the_file(classifier, images):
    predictor = Predictor(Session(classifier, "cpu"), PREP)
    data = reader.read_bytes(images[0])
    (result,) = predictor([("elsewhere.png", data)])
    assert (result.name, result.error) == ("elsewhere.png", None)
    np.testing.assert_allclose(result.outputs["prob"], want(classifier, images[0]), atol=1e-5)


def test_a_fixed_batch_is_filled_with_copies_of_the_last_image():
    net = make(
        'input: "x" input_shape { dim: 3 dim: 3 dim: 4 dim: 5 }'
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" '
        "pooling_param { pool: AVE global_pooling: true } }"
    )
    predictor = Predictor(Session(net, "cpu"))
    colors = [np.full((4, 5, 3), 10 * i, np.uint8) for i in range(5)]
    parts = [predictor._prepare(i, color) for i, color in enumerate(colors)]
    feeds = predictor._stack(parts[:2])
    np.testing.assert_array_equal(feeds["x"][:, 0, 0, 0], [0, 10, 10])
    (first, second) = predictor._run(parts[:2])
    assert [float(first["p"][0, 0, 0]), float(second["p"][0, 0, 0])] == [0, 10]


def test_a_baked_model_takes_images_of_each_size_by_itself(classifier, images):
    model = bake(lower(classifier), PREP)
    predictor = Predictor(Session(model, "cpu"))
    assert predictor.baked
    for name, result in zip(images, predictor([(n, None) for n in images]), strict=True):
        if result.error is None:
            np.testing.assert_allclose(result.outputs["prob"], want(classifier, name), atol=1e-5)
    with pytest.raises(ShapeError, match="does its own preprocessing; leave preprocess out"):
        Predictor(Session(model, "cpu"), PREP)


def test_a_damaged_preprocessing_in_the_metadata_is_an_error(classifier):
    model = bake(lower(classifier), PREP)
    (entry,) = (p for p in model.model.metadata_props if p.key == "caffe_compat.preprocess")
    entry.value = '{"resize": [1, 2, 3]}'
    with pytest.raises(CaffeCompatError, match=r"caffe_compat\.preprocess is damaged"):
        Predictor(Session(model, "cpu"))


def test_feeds_are_what_the_session_takes(classifier, images):
    session = Session(classifier, "cpu")
    feeds = list(Predictor(session, PREP).feeds(images[:2]))
    assert [each["data"].shape for each in feeds] == [(1, 3, 32, 32)] * 2
    np.testing.assert_allclose(
        session.run(feeds[1])["prob"][0], want(classifier, images[1]), atol=1e-5
    )
    with pytest.raises(ParseError, match=r"4\.png: not an image"):
        list(Predictor(session, PREP).feeds(images))


def test_a_net_without_an_input_for_images_is_refused():
    net = make('input: "x" input_shape { dim: 1 dim: 2 dim: 4 dim: 5 }'
               'layer { name: "r" type: "ReLU" bottom: "x" top: "r" }')  # fmt: skip
    with pytest.raises(ShapeError, match=r"no input for an image .* x \(1, 2, 4, 5\)"):
        Predictor(Session(net, "cpu"))


def test_an_output_without_a_row_for_each_image_is_refused(images):
    net = make(
        'input: "x" input_shape { dim: 2 dim: 3 dim: 32 dim: 32 }'
        'layer { name: "r" type: "Reduction" bottom: "x" top: "r" }'
    )
    with pytest.raises(
        ShapeError, match=r"'r' .* has no row for each of 2 images; load with batch=1"
    ):
        Predictor(Session(net, "cpu"))([(name, None) for name in images[:2]])


def test_chunks():
    assert chunks("abcdefg", 3) == ["abc", "def", "g"]
    assert chunks("", 3) == []
