"""Layers that read data, which the caller feeds."""

from __future__ import annotations

import re

import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.params import fill

from ...cases import graph_of


def layer(kind, tops, body="", bottoms="", name="l"):
    names = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "{name}" type: "{kind}" {names} {body} }}\n'


def shapes(text, **options):
    graph = graph_of(text, **options)
    assert graph.inputs == tuple(graph.values)
    return [value.shape for value in graph.inputs]


MEANS3 = "mean_value: 1 mean_value: 2 mean_value: 3 "


def resize(mode, more=""):
    size = f"resize_param {{ resize_mode: {mode} height: 30 width: 60 }}"
    return f"transform_param {{ {more} {size} }}"


CROP = "transform_param { crop_size: 5 }"


MEANS = "transform_param { crop_size: 5 mean_value: 1 mean_value: 2 mean_value: 3 }"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            layer(
                "MemoryData",
                "dl",
                "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }",
            ),
            [(2, 3, 4, 5), (2,)],
        ),
        (
            layer("ImageData", "dl", f"{CROP} image_data_param {{ batch_size: 7 }}"),
            [(7, 3, 5, 5), (7,)],
        ),
        (
            layer(
                "ImageData",
                "dl",
                "image_data_param { batch_size: 7 new_height: 6 new_width: 8 is_color: false }",
            ),
            [(7, 1, 6, 8), (7,)],
        ),
        (
            layer("ImageData", "dl", f"{CROP} image_data_param {{ new_height: 6 new_width: 8 }}"),
            [(1, 3, 5, 5), (1,)],
        ),
        (layer("Data", "dl", f"{MEANS} data_param {{ batch_size: 7 }}"), [(7, 3, 5, 5), (7,)]),
        (layer("Data", "d", f"{MEANS} data_param {{ batch_size: 7 }}"), [(7, 3, 5, 5)]),
        (
            layer("WindowData", "dl", f"{MEANS} window_data_param {{ batch_size: 7 }}"),
            [(7, 3, 5, 5), (7,)],
        ),
        # The SSD branch's resize_param, crop_h and crop_w.
        (
            layer("Data", "dl", f"{resize('WARP', MEANS3)} data_param {{ batch_size: 7 }}"),
            [(7, 3, 30, 60), (7,)],
        ),
        (
            layer(
                "Data",
                "d",
                f"{resize('WARP', MEANS3 + 'crop_h: 11')} data_param {{ batch_size: 7 }}",
            ),
            [(7, 3, 11, 60)],
        ),
        (
            layer(
                "ImageData",
                "dl",
                f"{resize('FIT_LARGE_SIZE_AND_PAD')} image_data_param {{ batch_size: 7 }}",
            ),
            [(7, 3, 30, 60), (7,)],
        ),
        (
            layer(
                "ImageData",
                "dl",
                f"{resize('FIT_SMALL_SIZE')} image_data_param {{ batch_size: 7 "
                "new_height: 40 new_width: 70 }",
            ),
            [(7, 3, 34, 60), (7,)],
        ),
        (
            layer(
                "ImageData",
                "dl",
                f"{resize('FIT_SMALL_SIZE')} image_data_param {{ batch_size: 7 "
                "new_height: 40 new_width: 110 }",
            ),
            [(7, 3, 30, 82), (7,)],
        ),
        (
            layer(
                "AnnotatedData",
                "dl",
                f"{resize('WARP', MEANS3)} data_param {{ batch_size: 7 }} "
                "annotated_data_param { batch_sampler { max_sample: 1 } }",
            ),
            [(7, 3, 30, 60), (1, 1, 1, 8)],
        ),
        (layer("AnnotatedData", "d", f"{MEANS} data_param {{ batch_size: 7 }}"), [(7, 3, 5, 5)]),
        (
            layer(
                "VideoData",
                "d",
                f"{resize('WARP')} data_param {{ batch_size: 1 }} "
                "video_data_param { video_type: VIDEO }",
            ),
            [(1, 3, 30, 60)],
        ),
    ],
)
@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_shapes_that_the_prototxt_gives(text, expected, phase):
    assert shapes(text, phase=phase) == expected


@pytest.mark.parametrize(
    "text",
    [
        layer("Data", "dl", f"{CROP} data_param {{ batch_size: 7 }}"),
        layer("Data", "dl", "data_param { batch_size: 7 }"),
        layer("Data", "dl", f"{resize('FIT_SMALL_SIZE', MEANS3)} data_param {{ batch_size: 7 }}"),
        layer("AnnotatedData", "dl", f"{resize('WARP')} data_param {{ batch_size: 7 }}"),
        layer("VideoData", "dl", "data_param { batch_size: 7 }"),
        layer("ImageData", "dl", "image_data_param { batch_size: 7 }"),
        layer("WindowData", "dl", f"{CROP} window_data_param {{ batch_size: 7 }}"),
        layer("HDF5Data", "dl", "hdf5_data_param { batch_size: 7 }"),
    ],
)
def test_shapes_that_the_caller_gives(text):
    with pytest.raises(ShapeError, match="the shape of 'd' is not in the prototxt"):
        graph_of(text)
    assert shapes(text, inputs={"d": (2, 1, 6, 8), "l": (2,)}) == [(2, 1, 6, 8), (2,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layer("MemoryData", "dl", "memory_data_param { batch_size: 2 channels: 3 height: 4 }"),
            "batch_size, channels, height and width must be positive: (2, 3, 4, 0)",
        ),
        (layer("MemoryData", "d"), "takes 2 top blob(s), and has 1"),
        (layer("Data", "dl", CROP), "batch_size must be positive, and is 0"),
        (
            layer("Data", "dle", "data_param { batch_size: 7 }"),
            "takes 1 to 2 top blob(s), and has 3",
        ),
        (
            layer("Data", "dl", 'transform_param { mean_file: "m" mean_value: 1 }'),
            "gives both mean_file and mean_value",
        ),
        (
            layer("ImageData", "dl", "image_data_param { new_height: 6 }"),
            "new_height 6 and new_width 0: both or neither",
        ),
        (
            layer("ImageData", "dl", f"{CROP} image_data_param {{ new_height: 6 new_width: 4 }}"),
            "crop_size 5 exceeds 6 x 4",
        ),
        (
            layer("Data", "d", f"{resize('WARP', 'crop_w: 61')} data_param {{ batch_size: 7 }}"),
            "crop_h 0 crop_w 61 exceeds 30 x 60",
        ),
        (
            layer(
                "AnnotatedData", "d", f"{resize('FIT_SMALL_SIZE')} data_param {{ batch_size: 7 }}"
            ),
            "FIT_SMALL_SIZE wants batch_size 1, and has 7",
        ),
        (
            layer("ImageData", "dl", f"{MEANS} image_data_param {{ is_color: false }}"),
            "gives 3 mean_value for 1 channels",
        ),
        (
            layer("WindowData", "dl", "window_data_param { batch_size: 7 }"),
            "crop_size must be positive, and is 0",
        ),
        (
            layer("HDF5Data", "d", f"{CROP} hdf5_data_param {{ batch_size: 7 }}"),
            "does not transform data",
        ),
    ],
)
def test_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (")) as error:
        graph_of(text)
    assert message in str(error.value)


CROPPED = "transform_param { crop_size: 5 }"


MIRRORED = "transform_param { crop_size: 5 mirror: true }"


MEMORY = "memory_data_param { batch_size: 2 channels: 3 height: 5 width: 5 }"


@pytest.mark.parametrize(
    ("kind", "body", "train", "test"),
    [
        # InitRand draws where it mirrors, or crops in TRAIN: once, twice in what reads ahead,
        # whose thread draws too; the other draws are the layers' own.
        ("MemoryData", MEMORY, 0, 0),
        ("MemoryData", f"{CROPPED} {MEMORY}", 1, 0),
        ("MemoryData", f"{MIRRORED} {MEMORY}", 1, 1),
        ("Data", "data_param { batch_size: 2 }", 1, 1),
        ("Data", f"{CROPPED} data_param {{ batch_size: 2 }}", 3, 1),
        ("Data", f"{MIRRORED} data_param {{ batch_size: 2 }}", 3, 3),
        ("ImageData", "", 1, 1),
        ("ImageData", f"{CROPPED} image_data_param {{ shuffle: true }}", 4, 2),
        ("ImageData", "image_data_param { shuffle: true rand_skip: 9 }", 3, 3),
        ("WindowData", f"{CROPPED} window_data_param {{ batch_size: 2 }}", 4, 2),
        ("WindowData", f"{MIRRORED} window_data_param {{ batch_size: 2 }}", 4, 4),
        ("HDF5Data", "hdf5_data_param { batch_size: 2 shuffle: true }", 0, 0),
    ],
)
def test_what_setup_draws(kind, body, train, test):
    inputs = None
    if kind not in ("MemoryData", "DummyData"):
        inputs = {"d": (2, 3, 5, 5), "l": (2,)}
    weights = layer(
        "InnerProduct",
        "y",
        'inner_product_param { num_output: 3 weight_filler { type: "uniform" } }',
        "d",
        name="ip",
    )
    for phase, drawn in (("TRAIN", train), ("TEST", test)):
        rng = BoostRng(1701)
        rng.u32(drawn)
        graph = graph_of(layer(kind, "dl", body) + weights, phase=phase, inputs=inputs)
        held = fill(graph, BoostRng(1701)).arrays[-1][0]
        assert held.ravel().tolist() == rng.uniform(0, 1, held.size).tolist()
