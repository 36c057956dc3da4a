"""Convolution, Deconvolution and Im2col beyond the golden cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import (
    REPORTS,
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    operators,
    run_onnx,
)

FILLERS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 }'


def text(type_, param, shape=(2, 6, 7, 9), bottoms=1):
    dims = " ".join(f"dim: {n}" for n in shape)
    inputs = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }}'
        for i in range(bottoms)
    )
    blobs = "".join(f'bottom: "x{i}" top: "y{i}" ' for i in range(bottoms))
    fillers = "" if type_ == "Im2col" else FILLERS
    param = f"convolution_param {{ {param} {fillers} }}"
    return f'{inputs} layer {{ name: "conv" type: "{type_}" {blobs} {param} }}'


# What follows the parameters: the shape, and the top's shape for Convolution and Deconvolution.
CASES = [
    ("num_output: 4 kernel_size: 3", (2, 6, 7, 9), (2, 4, 5, 7), (2, 4, 9, 11)),
    ("num_output: 4 kernel_size: 1", (2, 6, 7, 9), (2, 4, 7, 9), (2, 4, 7, 9)),
    ("num_output: 4 kernel_size: 1 stride: 2", (2, 6, 7, 9), (2, 4, 4, 5), (2, 4, 13, 17)),
    ("num_output: 4 kernel_size: 3 bias_term: false", (2, 6, 7, 9), (2, 4, 5, 7), (2, 4, 9, 11)),
    (
        "num_output: 4 kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 4",
        (2, 6, 7, 9),
        (2, 4, 3, 7),
        (2, 4, 18, 13),
    ),
    ("num_output: 4 kernel_size: 3 dilation: 2 pad: 1", (2, 6, 7, 9), (2, 4, 5, 7), (2, 4, 9, 11)),
    (
        "num_output: 4 kernel_size: 3 kernel_size: 2 dilation: 1 dilation: 3",
        (2, 6, 7, 9),
        (2, 4, 5, 6),
        (2, 4, 9, 12),
    ),
    ("num_output: 4 kernel_size: 1 dilation: 0", (2, 6, 7, 9), (2, 4, 7, 9), (2, 4, 7, 9)),
    ("num_output: 9 kernel_size: 3 group: 3", (2, 6, 7, 8), (2, 9, 5, 6), (2, 9, 9, 10)),
    ("num_output: 6 kernel_size: 3 group: 6 pad: 1", (2, 6, 7, 9), (2, 6, 7, 9), (2, 6, 7, 9)),
    ("num_output: 12 kernel_size: 3 group: 6", (2, 6, 7, 9), (2, 12, 5, 7), (2, 12, 9, 11)),
    ("num_output: 4 kernel_size: 3 stride: 2 pad: 1", (2, 5, 9), (2, 4, 5), (2, 4, 17)),
    (
        "num_output: 4 kernel_size: 2 stride: 2 stride: 1 stride: 3",
        (2, 3, 5, 6, 7),
        (2, 4, 2, 5, 2),
        (2, 4, 10, 7, 20),
    ),
    (
        "num_output: 3 kernel_size: 2 pad: 1 force_nd_im2col: true",
        (2, 5, 3, 4, 6, 7),
        (2, 3, 4, 5, 7, 8),
        (2, 3, 2, 3, 5, 6),
    ),
    ("num_output: 4 kernel_size: 3 axis: 0", (6, 7, 9), (4, 5, 7), (4, 9, 11)),
    (
        "num_output: 4 kernel_size: 3 axis: -3 group: 2",
        (2, 3, 6, 7, 8),
        (2, 3, 4, 5, 6),
        (2, 3, 4, 9, 10),
    ),
    ("num_output: 4", (3, 6), (3, 4), (3, 4)),
    ("num_output: 4 kernel_size: 5 group: 2", (3, 6), (3, 4), (3, 4)),
    ("num_output: 4 axis: -1 bias_term: false", (2, 3, 6), (2, 3, 4), (2, 3, 4)),
    ("num_output: 4 axis: 0", (6,), (4,), (4,)),
]
ROWS = [
    (type_, param, shape, {"Convolution": top, "Deconvolution": deconv_top}[type_])
    for param, shape, top, deconv_top in CASES
    for type_ in ("Convolution", "Deconvolution")
]
COLUMNS = [
    ("kernel_size: 3 pad: 1", (2, 5, 7, 9), (2, 45, 7, 9)),
    ("kernel_h: 2 kernel_w: 3 stride: 2 dilation: 2", (2, 5, 7, 9), (2, 30, 3, 3)),
    ("kernel_size: 3 stride: 2", (2, 5, 7), (2, 15, 3)),
    ("kernel_size: 1", (2, 5, 7, 9), (2, 5, 7, 9)),
    ("kernel_size: 2 axis: 0", (3, 4, 5), (12, 3, 4)),
    ("kernel_size: 2 axis: 2", (2, 3, 4, 5, 6), (2, 3, 16, 4, 5)),
]


@pytest.mark.parametrize(("type_", "param", "shape", "top"), ROWS)
def test_numpy_and_onnxruntime_agree(type_, param, shape, top):
    assert check_both(text(type_, param, shape))["y0"].shape == top


@pytest.mark.parametrize(("param", "shape", "top"), COLUMNS)
def test_im2col(param, shape, top):
    assert check_both(text("Im2col", param, shape))["y0"].shape == top
    check_gradients(text("Im2col", param, shape))


@pytest.mark.parametrize(("type_", "param", "shape", "top"), ROWS)
def test_gradients(type_, param, shape, top):
    """What is linear in x and in the weights is the product of either with its gradient."""
    net = make(text(type_, param, shape))
    feeds = feed(net)
    values = net.run(feeds)
    dy = np.random.default_rng(3).standard_normal(top).astype(np.float32)
    grads, params = net.backward(values, {"y0": dy})
    weight, *bias = net.arrays[-1]
    y = values["y0"].astype(np.float64)
    channel = _axis(param, shape)
    if bias:
        y = y - bias[0].reshape(-1, *(1,) * (len(shape) - channel - 1))
        axes = tuple(i for i in range(len(shape)) if i != channel)
        assert_close(params[-1][1], dy.sum(axes))
    product = np.sum(dy * y)
    scale = np.sqrt(np.sum(dy.astype(np.float64) ** 2) * np.sum(y**2))
    assert abs(np.sum(grads["x0"].astype(np.float64) * feeds["x0"]) - product) < 1e-5 * scale
    assert abs(np.sum(params[-1][0].astype(np.float64) * weight) - product) < 1e-5 * scale
    check_gradients(text(type_, param, shape))


def _axis(param, shape):
    words = param.split()
    axis = int(words[words.index("axis:") + 1]) if "axis:" in words else 1
    return axis % len(shape)


@pytest.mark.parametrize("type_", ["Convolution", "Deconvolution"])
def test_several_bottoms_share_the_weights(type_):
    net = make(text(type_, "num_output: 4 kernel_size: 3", bottoms=2))
    feeds = feed(net)
    check_both(text(type_, "num_output: 4 kernel_size: 3", bottoms=2))
    one = make(text(type_, "num_output: 4 kernel_size: 3"))
    np.testing.assert_array_equal(net.forward(feeds)["y1"], one.forward({"x0": feeds["x1"]})["y0"])
    values = net.run(feeds)
    dys = {name: np.ones_like(values[name]) for name in ("y0", "y1")}
    grads, params = net.backward(values, dys)
    apart = [
        one.backward(one.run({"x0": feeds[x]}), {"y0": np.ones_like(values["y0"])})
        for x in ("x0", "x1")
    ]
    np.testing.assert_array_equal(grads["x1"], apart[1][0]["x0"])
    for i in range(2):
        assert_close(params[-1][i], apart[0][1][-1][i] + apart[1][1][-1][i])


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (("Convolution", "num_output: 4 kernel_size: 3"), ["Conv"]),
        (("Deconvolution", "num_output: 4 kernel_size: 3"), ["ConvTranspose"]),
        (("Im2col", "kernel_h: 1 kernel_w: 2"), ["Slice", "Slice", "Concat", "Gather"]),
        (("Convolution", "num_output: 4", (3, 6)), ["Gemm"]),
        (("Deconvolution", "num_output: 4", (3, 6)), ["Gemm"]),
        (("Convolution", "num_output: 4 group: 2", (3, 6)), ["Reshape", "Conv", "Reshape"]),
        (
            ("Convolution", "num_output: 4 kernel_size: 3 axis: 0", (6, 7, 9)),
            ["Unsqueeze", "Conv", "Squeeze"],
        ),
        (
            ("Convolution", "num_output: 4 kernel_size: 3 axis: 2", (2, 3, 4, 5, 6)),
            ["Reshape", "Conv", "Reshape"],
        ),
    ],
)
def test_is_onnxs_own_operator(args, wanted):
    """With nothing around it where Caffe's channels stand on the second axis, as they do."""
    assert operators(text(*args)) == wanted


@pytest.mark.parametrize(
    ("param", "shape", "top"),
    [
        ("num_output: 2 kernel_size: 5 stride: 3", (1, 2, 3, 6), (1, 2, 1, 1)),
        ("num_output: 2 kernel_h: 5 kernel_w: 3 stride: 4 pad_h: 1", (1, 2, 2, 7), (1, 2, 1, 2)),
        ("num_output: 4 group: 2 kernel_size: 3 dilation: 2 stride: 3", (1, 2, 3, 4), (1, 4, 1, 1)),
    ],
)
def test_a_kernel_over_the_input_has_one_window_as_in_caffe(param, shape, top):
    """Its division rounds towards 0; checked beside real Caffe, gradients too."""
    body = text("Convolution", param, shape)
    assert check_both(body)["y0"].shape == top
    check_gradients(body)


def test_report_30():
    net = make((REPORTS / "30_kernel_over_input" / "net.prototxt").read_text())
    x = feed(net)["data"]
    weight = net.arrays[-1][0]
    want = (weight[:, :, :2, :2] * x).sum((1, 2, 3)).reshape(1, 2, 1, 1)
    assert_close(net.forward({"data": x})["c"], want)
    assert_close(run_onnx(net, {"data": x})["c"], want)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_im2col_keeps_what_is_not_finite_in_its_place(value):
    net = make(text("Im2col", "kernel_size: 3 pad: 1 stride: 2"))
    feeds = feed(net)
    feeds["x0"][0, 1, 2, 3] = value
    np.testing.assert_array_equal(run_onnx(net, feeds)["y0"], net.forward(feeds)["y0"])


def test_weights_stay_where_they_lie():
    for type_ in ("Convolution", "Deconvolution"):
        net = make(text(type_, "num_output: 4 kernel_size: 3 group: 2"))
        lowered = lower(net)
        assert lowered.changed == ()
        for array in net.arrays[-1]:
            assert any(array is held for held in lowered.arrays.values())


OPEN = (None, 6, None, None)


@pytest.mark.parametrize("type_", ["Convolution", "Deconvolution", "Im2col"])
@pytest.mark.parametrize("opset", [18, 23])
def test_batch_and_size_may_vary(type_, opset):
    body = text(type_, "num_output: 4 kernel_size: 3 stride: 2 pad: 1 dilation: 2")
    others = [{"x0": shape} for shape in [(2, 6, 7, 9), (1, 6, 10, 8), (5, 6, 13, 20)]]
    check_varying(body, {"x0": OPEN}, others, opset=opset)


def test_sizes_that_may_vary_off_the_first_axis():
    body = text("Convolution", "num_output: 4 kernel_size: 3 axis: 0", (6, 7, 9))
    check_varying(body, {"x0": (6, None, None)}, [{"x0": (6, 7, 9)}, {"x0": (6, 10, 4)}])
    body = text("Convolution", "num_output: 4 kernel_size: 3 axis: 2", (2, 3, 6, 7, 9))
    check_varying(body, {"x0": (None, 3, 6, 7, 9)}, [{"x0": (5, 3, 6, 7, 9)}])
    for dims, axis in (((None, None, 6, 7, 9), 1), ((2, 3, 6, None, 9), 3)):
        with pytest.raises(UnsupportedError, match=f"needs axis {axis} of its bottom"):
            lower(make(body, inputs={"x0": dims}))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("Convolution", "num_output: 4 kernel_size: 8"),
            r"layer 'conv' \(Convolution\): kernel \(8, 8\) .* larger than the input \(7, 9\)",
        ),
        (("Im2col", "kernel_size: 4 dilation: 3"), r"\(3, 3\)\) is larger than the .*\(7, 9\)"),
        (("Convolution", "num_output: 4 kernel_size: 3 group: 4"), "group 4 must divide the 6"),
        (("Convolution", "num_output: 4 kernel_size: 3 group: 3"), "channels and the 4 outputs"),
        (("Convolution", "num_output: 4 kernel_size: 3 group: 0"), "group 0"),
        (("Convolution", "kernel_size: 3"), "num_output must be positive, and is 0"),
        (("Convolution", "num_output: 4"), r"kernel_size must be given once .* \(2\), .* 0 times"),
        (("Convolution", "num_output: 4 kernel_size: [1, 2, 3]"), "is given 3 times"),
        (("Convolution", "num_output: 4 kernel_size: 0"), "kernel dimensions must be nonzero"),
        (("Convolution", "num_output: 4 kernel_h: 3"), r"must be nonzero, and are \(3, 0\)"),
        (("Convolution", "num_output: 4 kernel_size: 3 stride: 0"), "stride dimensions"),
        (("Convolution", "num_output: 4 kernel_size: 3 stride_h: 1"), "stride dimensions"),
        (("Convolution", "num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3"), "not both"),
        (("Convolution", "num_output: 4 kernel_size: 3 pad: 1 pad_h: 1"), "not both"),
        (("Convolution", "num_output: 4 kernel_h: 3 kernel_w: 3", (2, 3, 9)), "2 spatial axes"),
        (("Convolution", "num_output: 4 kernel_size: 3 axis: 4"), "axis 4 out of range .* 4-D"),
        (("Im2col", "kernel_size: 3 axis: 3"), "needs a spatial axis after axis 3"),
        (("Deconvolution", "num_output: 4 kernel_size: 2 pad: 5"), r"output size \(-2, 0\)"),
    ],
)
def test_refused(args, message):
    with pytest.raises(ShapeError, match=message):
        make(text(*args))


def test_dilation_0_is_unsupported():
    with pytest.raises(UnsupportedError, match=r"dilation \(0, 0\)"):
        make(text("Convolution", "num_output: 4 kernel_size: 3 dilation: 0"))


def test_bottoms_must_be_alike_and_have_a_top_each():
    body = text("Convolution", "num_output: 4 kernel_size: 3", bottoms=2)
    with pytest.raises(ShapeError, match=r"bottom 1 is \(2, 6, 8, 9\)"):
        make(body, inputs={"x1": (2, 6, 8, 9)})
    with pytest.raises(ShapeError, match="2 bottom and 1 top"):
        make(body.replace('top: "y1"', ""))


@st.composite
def layers(draw):
    """Every type over up to three spatial axes, each size of its own."""
    rank = draw(st.integers(1, 3))
    sizes = draw(st.permutations(range(5, 10)))[:rank]
    group = draw(st.integers(1, 3))
    channels, outputs = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 3))
    lead = draw(st.integers(0, 2))
    param = f"axis: {lead} num_output: {outputs} group: {group} "
    for field, least, most in (
        ("kernel_size", 1, 3),
        ("stride", 1, 3),
        ("pad", 0, 2),
        ("dilation", 1, 2),
    ):
        for value in draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank)):
            param += f"{field}: {value} "
    param += f"bias_term: {str(draw(st.booleans())).lower()}"
    shape = (*(11, 2)[:lead], channels, *sizes)
    return [text(type_, param, shape) for type_ in ("Convolution", "Deconvolution", "Im2col")]


@given(layers())
@settings(max_examples=30)
def test_any_layer(bodies):
    for body in bodies:
        check_both(body)
        check_gradients(body)
