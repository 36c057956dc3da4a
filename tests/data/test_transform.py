"""The transformer, beside data_transformer.cpp's own loops written out."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import TEST, TRAIN, LayerParameter
from caffe_compat.data.streams import Engine
from caffe_compat.data.transform import Transform
from caffe_compat.errors import ShapeError, UnsupportedError

SHAPES = st.tuples(st.sampled_from((1, 2, 3)), st.integers(1, 9), st.integers(1, 19))


def layer(text, phase=TRAIN):
    parameter = LayerParameter(phase=phase)
    text_format.Parse(f"transform_param {{ {text} }}", parameter)
    return parameter


def by_loops(p, phase, mean, engine, pixels):
    """Transform as DataTransformer::Transform(datum) does, value by value."""
    channels, full_height, full_width = pixels.shape
    mirror = p.mirror and engine.next_u32() % 2
    height, width, top, left = full_height, full_width, 0, 0
    if p.crop_size:
        height = width = p.crop_size
        if phase == TRAIN:
            top = engine.next_u32() % (full_height - height + 1)
            left = engine.next_u32() % (full_width - width + 1)
        else:
            top, left = (full_height - height) // 2, (full_width - width) // 2
    out = np.empty((channels, height, width), np.float32)
    for c in range(channels):
        for h in range(height):
            for w in range(width):
                value = np.float32(pixels[c, top + h, left + w])
                if mean is not None:
                    value -= mean[c, top + h, left + w]
                elif len(p.mean_value):
                    value -= np.float32(p.mean_value[c % len(p.mean_value)])
                out[c, h, width - 1 - w if mirror else w] = value * np.float32(p.scale)
    return out


@given(
    shape=SHAPES,
    phase=st.sampled_from((TRAIN, TEST)),
    mirror=st.booleans(),
    crop=st.integers(0, 9),
    kind=st.sampled_from(("", "mean_value: 33.3", "each", "file")),
    scale=st.sampled_from((1, 0.017)),
    floats=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_value_is_caffes(shape, phase, mirror, crop, kind, scale, floats, seed):
    rng = np.random.default_rng(seed)
    crop = min(crop, *shape[1:])
    each = " ".join(f"mean_value: {10.1 * c}" for c in range(shape[0]))
    mean = rng.normal(100, 9, shape).astype(np.float32) if kind == "file" else None
    values = {"file": "mean_file: 'm'", "each": each}.get(kind, kind)
    text = f"crop_size: {crop} mirror: {str(mirror).lower()} scale: {scale} {values}"
    parameter = layer(text, phase)
    transform = Transform(parameter, mean, seed)
    engine = Engine(seed)
    images = [rng.integers(0, 256, shape, np.uint8) for _ in range(3)]
    if floats:
        images = [image.astype(np.float32) / np.float32(7) for image in images]
    for image, draw in zip(images, transform.draw(3), strict=True):
        expected = by_loops(parameter.transform_param, phase, mean, engine, image)
        out = np.full(transform.shape(*shape), np.nan, np.float32)
        transform.apply(image, draw, out)
        np.testing.assert_array_equal(out, expected)


def test_a_transposed_image_is_transformed_where_it_lies():
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8).transpose(2, 0, 1)
    transform = Transform(layer("mirror: true crop_size: 5"), None, 4)
    (draw,) = transform.draw(1)
    out = np.empty((3, 5, 5), np.float32)
    transform.apply(image, draw, out)
    expected = by_loops(
        layer("mirror: true crop_size: 5").transform_param, TRAIN, None, Engine(4), image
    )
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    "text, says",
    [
        ("crop_size: 8", "crop_size 8 exceeds the image's 7x9"),
        ("mean_value: 1 mean_value: 2", "gives 2 mean_value for 3 channels; one, or one each"),
        ("mean_file: 'm'", "the mean_file has 3x7x8 values, and the image 3x7x9"),
    ],
)
def test_an_image_that_does_not_fit(text, says):
    mean = np.zeros((3, 7, 8), np.float32) if "file" in text else None
    with pytest.raises(ShapeError, match=says):
        Transform(layer(text), mean, None).shape(3, 7, 9)


@pytest.mark.parametrize(
    "text, says",
    [
        ("mean_file: 'm' mean_value: 1", "gives both mean_file and mean_value; one of them"),
        ("force_color: true force_gray: true", "gives both force_color and force_gray"),
    ],
)
def test_fields_that_exclude_each_other(text, says):
    with pytest.raises(ShapeError, match=says):
        Transform(layer(text), None, None)


def test_a_forks_fields_are_refused_by_name():
    transform = Transform(layer("resize_param { height: 3 width: 3 } crop_h: 2"), None, None)
    with pytest.raises(UnsupportedError, match="transform_param has resize_param, crop_h, which"):
        transform.check_fields()
