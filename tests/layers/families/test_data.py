"""Layers that the caller feeds, constants, sinks; Python layers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe_compat
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.layers.layer import Layer
from caffe_compat.net.params import fill
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, feed, graph_of, make, run_onnx


def layer(kind, tops, body="", bottoms="", name="l"):
    names = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "{name}" type: "{kind}" {names} {body} }}\n'


def shapes(text, **options):
    graph = graph_of(text, **options)
    assert graph.inputs == tuple(graph.values)
    return [value.shape for value in graph.inputs]


X = layer("Input", "x", "input_param { shape { dim: 3 dim: 4 } }", name="x")
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
        layer("Input", "dl"),
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
        (layer("DummyData", "a"), "shape is given 0 times for 1 tops"),
        (
            layer("DummyData", "abc", "dummy_data_param { shape { dim: 2 } shape { dim: 3 } }"),
            "shape is given 2 times for 3 tops",
        ),
        (
            layer(
                "DummyData",
                "abc",
                "dummy_data_param { shape { dim: 2 } data_filler { } data_filler { } }",
            ),
            "data_filler is given 2 times for 3 tops",
        ),
        (
            layer("DummyData", "a", "dummy_data_param { num: 2 channels: 3 }"),
            "height is given 0 times for 1 tops",
        ),
        (
            layer("DummyData", "a", "dummy_data_param { num: 2 shape { dim: 2 } }"),
            "gives both shape and num",
        ),
        (layer("DummyData", "a", "dummy_data_param { shape { dim: 0 } }"), "cannot be filled"),
        (
            layer(
                "DummyData", "a", "dummy_data_param { shape { dim: 2 } data_filler { sparse: 3 } }"
            ),
            "Sparsity not supported",
        ),
        (X + layer("Silence", "", ""), "takes at least 1 bottom blob(s), and has 0"),
        (X + layer("Silence", "y", "", "x"), "takes 0 top blob(s), and has 1"),
        (
            X
            + layer("Input", "z", "input_param { shape { dim: 2 } }", name="z")
            + layer("HDF5Output", "", "", "xz"),
            "as many rows in both bottoms",
        ),
    ],
)
def test_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (")) as error:
        graph_of(text)
    assert message in str(error.value)


def test_an_unknown_filler_is_refused():
    body = 'dummy_data_param { shape { dim: 2 } data_filler { type: "orthogonal" } }'
    with pytest.raises(UnsupportedError, match=r"layer 'l' \(DummyData\).*orthogonal"):
        graph_of(layer("DummyData", "a", body))


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
        (
            "DummyData",
            "dummy_data_param { shape { dim: 2 dim: 5 } shape { dim: 3 } data_filler "
            '{ type: "gaussian" } data_filler { } }',
            0,
            0,
        ),
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


@pytest.mark.parametrize(
    ("tops", "body", "constants", "fed"),
    [
        ("a", "shape { dim: 2 dim: 3 }", {"a": ((2, 3), 0)}, {}),
        (
            "ab",
            "shape { dim: 2 dim: 3 } data_filler { value: 2.5 }",
            {"a": ((2, 3), 2.5), "b": ((2, 3), 2.5)},
            {},
        ),
        (
            "abc",
            "shape { dim: 2 } shape { dim: 3 } shape { } data_filler { value: -1 } "
            'data_filler { type: "gaussian" } data_filler { value: 7 }',
            {"a": ((2,), -1), "c": ((), 7)},
            {"b": (3,)},
        ),
        (
            "ab",
            "num: 2 num: 7 channels: 3 height: 4 width: 5 data_filler { value: 0.125 }",
            {"a": ((2, 3, 4, 5), 0.125), "b": ((7, 3, 4, 5), 0.125)},
            {},
        ),
        (
            "a",
            'num: 2 channels: 3 height: 4 width: 5 data_filler { type: "xavier" }',
            {},
            {"a": (2, 3, 4, 5)},
        ),
    ],
)
def test_dummy_data(tops, body, constants, fed):
    text = layer("DummyData", tops, f"dummy_data_param {{ {body} }}")
    graph = graph_of(text)
    assert {value.blob: value.shape for value in graph.inputs} == fed
    made = check_both(text)
    for name, (shape, value) in constants.items():
        assert made[name].shape == shape
        assert np.all(made[name] == np.float32(value))
    nodes = [node.op_type for node in lower(make(text)).model.graph.node]
    assert nodes.count("ConstantOfShape") == len(constants)


def test_dummy_data_allocates_nothing_for_a_declared_size():
    text = layer("DummyData", "a", "dummy_data_param { shape { dim: 2000000000 } }")
    made = make(text)
    assert made.forward({})["a"].strides == (0,)
    assert not lower(made).arrays or max(a.size for a in lower(made).arrays.values()) == 1


def test_parameter():
    weight = layer("Parameter", "p", "parameter_param { shape { dim: 3 dim: 4 } }")
    made = make(weight + layer("Flatten", "y", "", "p", name="m"))
    assert [a.tolist() for a in made.arrays[0]] == [np.zeros((3, 4)).tolist()]
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = type(made)(made.graph, ((value,), ()))
    assert_close(run_onnx(made, {})["y"], value)
    assert_close(made.forward({})["y"], value)
    _, params = made.backward(made.run({}), {"y": 2 * value})
    assert_close(params[0][0], 2 * value)
    assert_close(run_onnx(make(weight), {})["p"], np.zeros((3, 4)))


@pytest.mark.parametrize("kind", ["Silence", "HDF5Output"])
def test_sinks_vanish(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z = layer("Input", "z", "input_param { shape { dim: 3 dim: 2 } }", name="z")
    where = 'hdf5_output_param { file_name: "out.h5" }' if kind == "HDF5Output" else ""
    text = X + z + layer("Flatten", "y", "", "x", name="f") + layer(kind, "", where, "xz")
    assert list(check_both(text)) == ["y"]
    made = make(text)
    grads, _ = made.backward(made.run(feed(made)), {"y": np.ones((3, 4), np.float32)})
    assert "z" not in grads
    assert not [*tmp_path.iterdir()]


def test_a_net_of_sinks_alone_has_no_onnx():
    text = X + layer("Flatten", "y", "", "x", name="f") + layer("Silence", "", "", "y")
    made = make(text)
    assert made.forward(feed(made))["y"].shape == (3, 4)
    with pytest.raises(UnsupportedError, match="the net has no output"):
        lower(made)
    assert [v.name for v in lower(made, extra=[made.graph.blob("y")]).model.graph.output] == ["y"]


PYTHON = X + layer(
    "Python", "y", 'python_param { module: "no.such.module" layer: "Double" param_str: "2.5" }', "x"
)


def test_a_python_layer_is_refused():
    with pytest.raises(UnsupportedError) as error:
        graph_of(PYTHON)
    message = str(error.value)
    assert message.startswith("layer 'l' (Python): module 'no.such.module', class 'Double'")
    assert 'caffe_compat.register(module="no.such.module", layer="Double")' in message
    assert error.value.remedies == ("register",)


def test_a_python_layer_of_the_caller(monkeypatch):
    monkeypatch.setattr("caffe_compat.layers.registry._python", {})

    @caffe_compat.register(module="no.such.module", layer="Double")
    class Double(Layer):
        """param_str times the bottom."""

        def forward(self, x):
            return np.float32(self.p.param_str) * x

        def backward(self, dy, x):
            return np.float32(self.p.param_str) * dy

        def lower(self, g, x):
            return g.Mul(x, np.array(self.p.param_str, np.float32))

    made = make(PYTHON)
    feeds = feed(made)
    assert_close(check_both(PYTHON)["y"], 2.5 * feeds["x"])
    grads, _ = made.backward(made.run(feeds), {"y": feeds["x"]})
    assert_close(grads["x"], 2.5 * feeds["x"])
    with pytest.raises(UnsupportedError, match="class 'Triple'"):
        graph_of(PYTHON.replace("Double", "Triple"))


def test_what_cannot_be_registered():
    with pytest.raises(TypeError, match="no subclass of"):
        caffe_compat.register(module="m", layer="l")(object)


@st.composite
def dummies(draw):
    """DummyData with its shapes and fillers given once or one each, or in the legacy fields."""
    count = draw(st.integers(1, 4))
    sizes = st.integers(1, 5)

    def times():
        return draw(st.sampled_from([1, count]))

    if draw(st.booleans()):
        body = " ".join(
            f"{field}: {draw(sizes)}"
            for field in ("num", "channels", "height", "width")
            for _ in range(times())
        )
    else:
        body = " ".join(
            "shape { " + " ".join(f"dim: {n}" for n in draw(st.lists(sizes, max_size=4))) + " }"
            for _ in range(times())
        )
    fillers = " ".join(
        draw(st.sampled_from(["data_filler { value: 3 }", 'data_filler { type: "uniform" }']))
        for _ in range(draw(st.sampled_from([0, 1, count])))
    )
    return layer("DummyData", "abcd"[:count], f"dummy_data_param {{ {body} {fillers} }}")


@given(dummies())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_dummy_data(text):
    check_both(text)
