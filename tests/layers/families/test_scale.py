"""Scale and Bias beyond the golden cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, operators, run_onnx

SHAPE = (2, 3, 5, 4)
DRAWN = 'filler { type: "gaussian" std: 1 }'
BOTH = f'bias_term: true bias_filler {{ type: "uniform" min: -1 max: 1 }} {DRAWN}'


def text(type_, param, *shapes, top="y"):
    inputs = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }\n"
        for i, shape in enumerate(shapes)
    )
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    return f"""{inputs}
        layer {{ name: "s" type: "{type_}" {bottoms} top: "{top}"
                 {type_.lower()}_param {{ {param} }} }}"""


def spans(rank):
    return [(a, n) for a in range(-rank, rank) for n in range(-1, rank - a % rank + 1)]


@pytest.mark.parametrize(("axis", "num_axes"), spans(4))
@pytest.mark.parametrize(("type_", "more"), [("Scale", DRAWN), ("Scale", BOTH), ("Bias", DRAWN)])
def test_a_blob_over_any_axes(type_, more, axis, num_axes):
    net = text(type_, f"axis: {axis} num_axes: {num_axes} {more}", SHAPE)
    check_both(net)
    start = axis % 4
    shape = SHAPE[start:] if num_axes == -1 else SHAPE[start : start + num_axes]
    assert {blob.shape for blob in make(net).graph.nodes[1].blobs} == {shape}


@pytest.mark.parametrize(("axis", "num_axes"), spans(4))
@pytest.mark.parametrize(("type_", "more"), [("Scale", ""), ("Scale", BOTH), ("Bias", "")])
def test_a_second_bottom_over_any_axes(type_, more, axis, num_axes):
    start = axis % 4
    part = SHAPE[start:] if num_axes == -1 else SHAPE[start : start + num_axes]
    net = text(type_, f"axis: {axis} {more}", SHAPE, part)
    check_both(net)
    check_gradients(net)


@pytest.mark.parametrize(
    ("net", "wanted"),
    [
        (text("Scale", "", SHAPE), ["Mul"]),
        (text("Scale", "bias_term: true", SHAPE), ["Mul", "Add"]),
        (text("Scale", "", SHAPE, (3, 5, 4)), ["Mul"]),
        (text("Scale", "", SHAPE, (3,)), ["Unsqueeze", "Mul"]),
        (text("Bias", "", SHAPE), ["Add"]),
        (text("Bias", "axis: 0", SHAPE, (2, 3)), ["Unsqueeze", "Add"]),
    ],
)
def test_nodes(net, wanted):
    """Blobs are stored in a form that broadcasts, so that nothing reshapes them in a run."""
    assert operators(net) == wanted


def test_blobs_stay_where_they_lie():
    net = make(text("Scale", BOTH, SHAPE))
    lowered = lower(net)
    assert lowered.changed == ()
    held = net.arrays[1]
    assert all(any(np.shares_memory(a, b) for b in held) for a in lowered.arrays.values())
    assert len(lowered.arrays) == 2


def test_fillers_of_scale_and_bias():
    scale, bias = make(text("Scale", "bias_term: true", SHAPE)).arrays[1]
    assert scale.tolist() == [1, 1, 1]
    assert bias.tolist() == [0, 0, 0]
    assert make(text("Bias", "", SHAPE)).arrays[1][0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("axis", "num_axes"), [(1, 1), (0, 2), (-1, 1), (1, -1), (0, 0)])
@pytest.mark.parametrize("type_", ["Scale", "Bias"])
def test_gradients_of_the_blobs(type_, axis, num_axes):
    more = BOTH if type_ == "Scale" else DRAWN
    net = make(text(type_, f"axis: {axis} num_axes: {num_axes} {more}", SHAPE))
    values = net.run(feed(net))
    dy = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    grads, params = net.backward(values, {"y": dy})
    over = {
        (1, 1): "nchw->c",
        (0, 2): "nchw->nc",
        (-1, 1): "nchw->w",
        (1, -1): "nchw->chw",
        (0, 0): "nchw->",
    }[axis, num_axes]
    wanted = [np.einsum(over, dy)]
    if type_ == "Scale":
        wanted.insert(0, np.einsum(over, dy * values["x0"]))
    for got, want in zip(params[1], wanted, strict=True):
        assert_close(got, want)
    assert grads["x0"].shape == SHAPE


@pytest.mark.parametrize(
    "net",
    [
        text("Scale", BOTH, SHAPE, top="x0"),
        text("Scale", "axis: 0", SHAPE, (2, 3), top="x0"),
        text("Bias", DRAWN, SHAPE, top="x0"),
    ],
)
def test_in_place(net):
    apart = make(net.replace('top: "x0"\n', 'top: "y"\n'))
    feeds = feed(apart)
    want = apart.forward(feeds)["y"]
    together = make(net)
    np.testing.assert_array_equal(together.forward(feeds)["x0"], want)
    assert_close(run_onnx(together, feeds)["x0"], want)


def test_the_batch_may_vary_where_no_blob_spans_it():
    check_both(text("Scale", BOTH, SHAPE), inputs={"x0": [None, 3, None, None]})
    check_both(
        text("Scale", "axis: 0", SHAPE, (2, 3)), inputs={"x0": [None, 3, 5, 4], "x1": [None, 3]}
    )
    with pytest.raises(ShapeError, match=r"'s' \(Scale\): 'scale' would change .* fixed shapes"):
        make(text("Scale", "axis: 0 num_axes: 2", SHAPE), inputs={"x0": [None, 3, 5, 4]})


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (text("Scale", "axis: 4", SHAPE), r"'s' \(Scale\): axis 4 out of range for a 4-D blob"),
        (text("Scale", "axis: -5", SHAPE), "axis -5 out of range"),
        (text("Scale", "axis: 2 num_axes: 3", SHAPE), r"num_axes 3 reach past .*\(2, 3, 5, 4\)"),
        (text("Scale", "num_axes: -2", SHAPE), "num_axes must be 0 or more.* it is -2"),
        (text("Scale", "", SHAPE, (5,)), r"bottom 1 \(5,\) does not match bottom 0"),
        (text("Bias", "axis: 3", SHAPE, (4, 1)), r"bottom 1 \(4, 1\) does not match"),
        (text("Bias", "num_axes: 4", SHAPE), "reach past"),
        (text("Bias", "", SHAPE, (3,), (3,)), "1 to 2 bottom"),
    ],
)
def test_what_caffe_refuses(net, message):
    with pytest.raises(ShapeError, match=message):
        make(net)


@st.composite
def nets(draw):
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    num_axes = draw(st.integers(-1, len(shape) - axis % len(shape)))
    type_, more = draw(st.sampled_from([("Scale", DRAWN), ("Scale", BOTH), ("Bias", DRAWN)]))
    start = axis % len(shape)
    part = shape[start:] if num_axes == -1 else shape[start : start + num_axes]
    given_ = [part] if draw(st.booleans()) else []
    return text(type_, f"axis: {axis} num_axes: {num_axes} {more}", shape, *given_)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(net=nets())
def test_any_shape_and_parameters(net):
    check_both(net)


def test_eltwise_affine():
    """ducha-aiki's: what has no filler starts a little off 1 and 0."""
    ends = 'layer {{ name: "l" type: "EltwiseAffine" bottom: "x" top: "y" {} }}'
    head = (
        'layer { name: "in" type: "Input" top: "x" '
        "input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }"
    )
    net = make(head + ends.format(""))
    slope, bias = net.arrays[-1]
    np.testing.assert_allclose(slope, [1.0001] * 3)
    np.testing.assert_allclose(bias, [0.0001] * 3)
    drawn = 'slope_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
    for more in (drawn, f"{drawn} channel_shared: true"):
        body = head + ends.format(f"eltwise_affine_param {{ {more} }}")
        check_both(body)
        check_gradients(body)
