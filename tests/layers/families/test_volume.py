"""Convolution3D and Pooling3D."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    operators,
    run_onnx,
)

SHAPE = (2, 3, 5, 7, 6)


def text(kind, field, param, shape=SHAPE):
    sizes = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {sizes} }} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {field} {{ {param} }} }}"""


def conv(param, **options):
    fillers = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
    return text("Convolution3D", "convolution3d_param", f"{param} {fillers}", **options)


def pool(param, **options):
    return text("Pooling3D", "pooling3d_param", param, **options)


def windows(x, kernel, stride, out):
    """Each window's place in the top, and what it sees of a volume that is already padded."""
    for place in product(*map(range, out)):
        cut = (slice(i * s, i * s + k) for i, k, s in zip(place, kernel, stride, strict=True))
        yield place, x[(slice(None), slice(None), *cut)]


def conv_by_loops(x, weight, bias, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
    kernel = weight.shape[2:]
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    y = np.zeros((len(x), len(weight), *out), np.float32)
    for place, part in windows(x, kernel, stride, out):
        y[(slice(None), slice(None), *place)] = np.einsum("nctij,octij->no", part, weight) + bias
    return y


def pool_by_loops(x, kernel, stride, pad, mean):
    """C3D's rule: windows rounded up, no clipping but at the padded volume's end."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
    out = [-((k - n) // s) + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    y = np.zeros((*x.shape[:2], *out), np.float32)
    for place, part in windows(x, kernel, stride, out):
        y[(slice(None), slice(None), *place)] = (part.mean if mean else part.max)((2, 3, 4))
    return y


# -- Convolution3D -----------------------------------------------------------------------------


def test_convolution_by_hand():
    """Two frames of one row of 3; the kernel is 2 frames deep and 1 wide, all ones, and bias 10."""
    param = """num_output: 1 kernel_size: 1 kernel_depth: 2 temporal_pad: 1
               weight_filler { value: 1 } bias_filler { value: 10 }"""
    net = make(text("Convolution3D", "convolution3d_param", param, (1, 1, 2, 1, 3)))
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32).reshape(1, 1, 2, 1, 3)
    for made in (net.forward({"x": x}), run_onnx(net, {"x": x})):
        assert made["y"][0, 0, :, 0].tolist() == [[11, 12, 13], [15, 17, 19], [14, 15, 16]]


@pytest.mark.parametrize(
    ("param", "stride", "pad"),
    [
        ("num_output: 4 kernel_size: 3 kernel_depth: 2", (1, 1, 1), (0, 0, 0)),
        ("num_output: 4 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1", (1,) * 3, (1,) * 3),
        (
            "num_output: 4 kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 3 pad: 1",
            (3, 2, 2),
            (0, 1, 1),
        ),
        (
            "num_output: 4 kernel_size: 3 kernel_depth: 4 filter_group: 2 temporal_pad: 2",
            (1, 1, 1),
            (2, 0, 0),
        ),
    ],
)
def test_convolution(param, stride, pad):
    for body in (conv(param), conv(param).replace("convolution3d_param", "convolution_param")):
        net = make(body)
        weight, bias = net.arrays[1]
        assert weight.shape[:2] == (4, 3)
        made = check_both(body)["y"]
        assert_close(made, conv_by_loops(feed(net)["x"], weight, bias, stride, pad))
        assert operators(body) == ["Conv"]  # of three axes, not a loop over frames
    check_gradients(conv(param))


def test_convolution_of_2014():
    """C3D v1.0: V1 layers, and the settings in the messages of the flat layers."""
    body = """
        input: "x" input_dim: 1 input_dim: 3
        layers { name: "c" type: CONVOLUTION3D bottom: "x" top: "c" convolution_param {
            num_output: 2 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1
            weight_filler { type: "gaussian" } } }
        layers { name: "p" type: POOLING3D bottom: "c" top: "y" pooling_param {
            pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 } }"""
    dims = "input_shape { dim: 1 dim: 3 dim: 4 dim: 5 dim: 6 }"
    body = body.replace("input_dim: 1 input_dim: 3", dims)
    assert check_both(body)["y"].shape == (1, 2, 4, 3, 3)


def test_convolution_of_any_size():
    body = conv("num_output: 4 kernel_size: 3 kernel_depth: 2 stride: 2")
    check_varying(body, {"x": (None, 3, None, None, None)}, [{"x": (1, 3, 4, 9, 8)}])


# -- Pooling3D ---------------------------------------------------------------------------------


def test_pooling_by_hand():
    """Three frames of a row of 3, windows of 2 x 1 x 2: the last ones hang over both ends."""
    param = "kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2"
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 1, 3).repeat(2, axis=3)
    for way, wanted in (("MAX", [[4, 5], [7, 8]]), ("AVE", [[2, 3.5], [6.5, 8]])):
        net = make(pool(f"pool: {way} {param}", shape=x.shape))
        for made in (net.forward({"x": x}), run_onnx(net, {"x": x})):
            assert made["y"][0, 0, :, 0].tolist() == wanted


POOLS = [
    ("kernel_size: 2 kernel_depth: 1 stride: 2", (1, 2, 2), (1, 2, 2), 0),
    ("kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2", (2,) * 3, (2,) * 3, 0),
    ("kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 1", (2, 3, 3), (1, 2, 2), 0),
    ("kernel_size: 3 kernel_depth: 4 stride: 4 temporal_stride: 3", (4, 3, 3), (3, 4, 4), 0),
    ("kernel_size: 3 kernel_depth: 2 stride: 2 pad: 1", (2, 3, 3), (1, 2, 2), 1),
    ("kernel_size: 2 kernel_depth: 2 stride: 2 pad: 1 temporal_stride: 2", (2,) * 3, (2,) * 3, 1),
]


@pytest.mark.parametrize("way", ["MAX", "AVE"])
@pytest.mark.parametrize(("param", "kernel", "stride", "pad"), POOLS)
def test_pooling(way, param, kernel, stride, pad):
    if pad and way == "MAX":
        with pytest.raises(ShapeError, match="pad 1 is for AVE only"):
            make(pool(f"pool: {way} {param}"))
        return
    newer = pool(f"pool: {way} {param}")
    for body in (newer, newer.replace("pooling3d_param", "pooling_param")):
        made = check_both(body)["y"]
        x = feed(make(body))["x"]
        assert_close(made, pool_by_loops(x, kernel, stride, (0, pad, pad), way == "AVE"))
    # Caffe counts the pad and not what hangs over it, which no attribute of ONNX's says.
    assert ("Pad" in operators(newer)) == bool(pad)


def test_pooling_of_any_size():
    body = pool("kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2")
    for way in ("MAX", "AVE"):
        check_varying(
            body.replace("{ kernel", f"{{ pool: {way} kernel"),
            {"x": (None, 3, None, None, None)},
            [{"x": (1, 3, 5, 8, 7)}, {"x": (2, 3, 4, 4, 9)}],
        )
    wide = pool("kernel_size: 3 kernel_depth: 1 stride: 4")
    check_both(wide)
    with pytest.raises(UnsupportedError, match="needs a fixed length, height and width"):
        lower(make(wide, inputs={"x": (2, 3, 5, None, 6)}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (conv("num_output: 4 kernel_size: 3"), "kernel dimensions must be nonzero, and are (0, 3"),
        (conv("kernel_size: 3 kernel_depth: 2"), "num_output must be positive, and is 0"),
        (
            conv("num_output: 3 kernel_size: 3 kernel_depth: 2 filter_group: 2"),
            "filter_group 2 must divide the 3 outputs",
        ),
        (conv("num_output: 3 kernel_size: 3 kernel_depth: 2 group: 3"), "C3D itself does not read"),
        (conv("num_output: 3 kernel_size: 3 kernel_depth: 9"), "is larger than the input"),
        (conv("num_output: 3 kernel_size: 3 kernel_depth: 2", shape=(2, 3, 5, 7)), "needs 5 axes"),
        (pool("kernel_size: 3"), "kernel dimensions must be nonzero"),
        (pool("kernel_size: 9 kernel_depth: 1"), "kernel (1, 9, 9) is larger than the volume"),
        (pool("kernel_size: 1 kernel_depth: 1 stride: 4"), "the last window of axis 3 lies off"),
        (pool("kernel_size: 3 kernel_depth: 1 pool: STOCHASTIC"), "not implemented in C3D"),
        (pool("kernel_size: 3 kernel_depth: 1", shape=(2, 3, 5, 7)), "needs 5 axes"),
        (text("Pooling3D", "pooling_param", "global_pooling: true"), "global_pooling is not of"),
        (
            text(
                "Convolution3D",
                "convolution_param",
                "num_output: 1 kernel_size: 2 kernel_size: 3 kernel_depth: 1",
            ),
            "kernel_size must be one number, and is [2, 3]",
        ),
        (
            text("Convolution3D", "convolution_param { } convolution3d_param", "num_output: 1"),
            "either convolution3d_param (C3D v1.1) or convolution_param (v1.0)",
        ),
    ],
)
def test_errors(body, message):
    with pytest.raises(CaffeCompatError, match=re.escape(message)):
        make(body)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_window(data):
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(5))
    depth, size, step, stride = (data.draw(st.integers(1, 4)) for _ in range(4))
    pad = data.draw(st.integers(0, size - 1))
    kernel, strides = (depth, size, size), (step, stride, stride)
    param = f"kernel_size: {size} kernel_depth: {depth} stride: {stride} temporal_stride: {step}"
    for way, p in (("MAX", 0), ("AVE", pad)):
        padded = [n + 2 * q for n, q in zip(shape[2:], (0, p, p), strict=True)]
        assume(all(n >= k for n, k in zip(padded, kernel, strict=True)))
        last = [-((k - n) // s) * s for n, k, s in zip(padded, kernel, strides, strict=True)]
        assume(all(at < n for at, n in zip(last, padded, strict=True)))
        body = pool(f"pool: {way} {param} pad: {p}", shape=shape)
        made = check_both(body)["y"]
        x = feed(make(body))["x"]
        assert_close(made, pool_by_loops(x, kernel, strides, (0, p, p), way == "AVE"))


@settings(max_examples=15)
@given(st.data())
def test_any_filter(data):
    shape = tuple(data.draw(st.integers(2, 7)) for _ in range(5))
    depth, size, step, stride = (data.draw(st.integers(1, n)) for n in (2, 2, 3, 3))
    group, pad, ahead = (data.draw(st.integers(*ends)) for ends in ((1, 3), (0, 2), (0, 2)))
    check_both(
        conv(
            f"num_output: {2 * group} filter_group: {group} kernel_size: {size} "
            f"kernel_depth: {depth} "
            f"stride: {stride} temporal_stride: {step} pad: {pad} temporal_pad: {ahead}",
            shape=(shape[0], 2 * group, *shape[2:]),
        )
    )
