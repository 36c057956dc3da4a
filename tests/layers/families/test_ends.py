"""Inputs, constants and parameters; sinks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.params import fill
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, feed, graph_of, make, one_layer, operators, run_onnx


def layer(kind, tops, body="", bottoms="", name="l"):
    names = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "{name}" type: "{kind}" {names} {body} }}\n'


X = layer("Input", "x", "input_param { shape { dim: 3 dim: 4 } }", name="x")


def test_input_of_one_shape_or_one_each():
    one = layer("Input", "ab", "input_param { shape { dim: 3 dim: 4 } }")
    each = layer("Input", "ab", "input_param { shape { dim: 3 dim: 4 } shape { } }")
    assert [value.shape for value in graph_of(one).inputs] == [(3, 4), (3, 4)]
    assert [value.shape for value in graph_of(each).inputs] == [(3, 4), ()]
    with pytest.raises(ShapeError, match="the shape of 'd' is not in the prototxt"):
        graph_of(layer("Input", "d"))
    with pytest.raises(ShapeError, match="gives 2 shapes for 3 tops"):
        graph_of(layer("Input", "abc", "input_param { shape { dim: 3 } shape { } }"))


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
    # A constant takes the bytes of one value in the file.
    assert operators(text).count("ConstantOfShape") == len(constants)


def test_dummy_data_allocates_nothing_for_a_declared_size():
    text = layer("DummyData", "a", "dummy_data_param { shape { dim: 2000000000 } }")
    made = make(text)
    assert made.forward({})["a"].strides == (0,)
    assert not lower(made).arrays or max(a.size for a in lower(made).arrays.values()) == 1


def test_dummy_data_draws_nothing():
    """Caffe's fillers draw for it at every pass, from another stream than the weights'."""
    body = """dummy_data_param { shape { dim: 2 dim: 5 } shape { dim: 3 }
              data_filler { type: "gaussian" } data_filler { } }"""
    param = 'inner_product_param { num_output: 3 weight_filler { type: "uniform" } }'
    graph = graph_of(layer("DummyData", "dl", body) + layer("InnerProduct", "y", param, "d", "ip"))
    weight = fill(graph, BoostRng(1701)).arrays[-1][0]
    assert weight.ravel().tolist() == BoostRng(1701).uniform(0, 1, weight.size).tolist()


def test_an_unknown_filler_is_refused():
    body = 'dummy_data_param { shape { dim: 2 } data_filler { type: "orthogonal" } }'
    with pytest.raises(UnsupportedError, match=r"layer 'l' \(DummyData\).*orthogonal"):
        graph_of(layer("DummyData", "a", body))


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
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


def test_a_parameters_filler():
    """Of training_toolbox_caffe; without one the blob is 0."""
    body = "parameter_param { shape { dim: 3 dim: 4 } %s }"
    filler = 'filler { type: "constant" value: 2.5 }'
    for more, value in ((filler, 2.5), ("", 0)):
        net = make(one_layer(f'type: "Parameter" {body % more}'))
        assert np.array_equal(net.forward({})["y"], np.full((3, 4), value))


def test_dummy_data_of_one_number():
    body = 'type: "DummyData" dummy_data_param { shape { } data_filler { value: 3 } }'
    assert check_both(one_layer(body))["y"] == 3
