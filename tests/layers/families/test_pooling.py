"""Pooling beyond the golden cases."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    one_layer,
    operators,
    run_onnx,
)

LOWEST = np.finfo(np.float32).min


def text(param, shape=(2, 3, 7, 9), tops=1):
    dims = " ".join(f"dim: {n}" for n in shape)
    names = " ".join(f'top: "{name}"' for name in ("y", "mask")[:tops])
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "pool" type: "Pooling" bottom: "x" {names}
                 pooling_param {{ {param} }} }}"""


# What follows the window: for an image of 7 by 9 the number of windows, by ceil and by floor.
WINDOWS = [
    ("kernel_size: 3 stride: 2", (3, 4), (3, 4)),
    ("kernel_size: 2 stride: 2", (4, 5), (3, 4)),
    ("kernel_size: 3 stride: 3", (3, 3), (2, 3)),
    ("kernel_size: 3 stride: 1 pad: 1", (7, 9), (7, 9)),
    ("kernel_size: 3 stride: 2 pad: 1", (4, 5), (4, 5)),
    ("kernel_size: 4 stride: 4 pad: 3", (3, 3), (3, 3)),
    ("kernel_size: 2 stride: 2 pad: 1", (4, 5), (4, 5)),
    ("kernel_size: 3 stride: 4 pad: 2", (3, 3), (3, 3)),
    ("kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0", (4, 3), (4, 3)),
    ("kernel_h: 2 kernel_w: 4 stride_h: 3 stride_w: 2 pad_h: 0 pad_w: 3", (3, 6), (2, 6)),
    ("kernel_h: 7 kernel_w: 9", (1, 1), (1, 1)),
    ("kernel_size: 7 stride: 6", (1, 2), (1, 1)),
    ("kernel_h: 8 kernel_w: 10 stride: 2", (1, 1), None),
    ("kernel_size: 2 stride_h: 3 stride_w: 4", (3, 3), (2, 2)),
    ("kernel_size: 3 kernel_h: 2 stride: 2", (3, 4), (3, 4)),  # a lone kernel_h does not count
    ("global_pooling: true", (1, 1), (1, 1)),
]
ROWS = [
    (f"{window} round_mode: {mode}", out)
    for window, *outs in WINDOWS
    for mode, out in zip(("CEIL", "FLOOR"), outs, strict=True)
    if out
]
# Windows off the image, which real Caffe does give: rounded up, and with a stride > kernel.
OFF = [
    ("kernel_size: 1 stride: 2", (4, 6)),
    ("kernel_size: 2 stride: 3", (6, 9)),
    ("kernel_size: 2 stride: 5", (7, 9)),
    ("kernel_h: 1 kernel_w: 2 stride_h: 3 stride_w: 2", (8, 9)),
    ("kernel_h: 1 kernel_w: 1 stride_h: 4 stride_w: 3", (6, 9)),
]


def by_loops(x, kernel, stride, pad, out, pool):
    """Pooling window by window, as the loops of pooling_layer.cpp describe it, and the mask."""
    y = np.full((*x.shape[:2], *out), LOWEST if pool == "MAX" else 0, np.float32)
    mask = np.full(y.shape, -1, np.float32)
    for n, c, i, j in product(*map(range, y.shape)):
        starts = [k * s - p for k, s, p in zip((i, j), stride, pad, strict=True)]
        ends = [
            min(a + k, m + p) for a, k, m, p in zip(starts, kernel, x.shape[2:], pad, strict=True)
        ]
        size = (ends[0] - starts[0]) * (ends[1] - starts[1])
        for h, w in product(*(range(max(a, 0), b) for a, b in zip(starts, ends, strict=True))):
            if h >= x.shape[2] or w >= x.shape[3]:
                continue
            if pool == "AVE":
                y[n, c, i, j] += x[n, c, h, w]
            elif x[n, c, h, w] > y[n, c, i, j]:
                y[n, c, i, j], mask[n, c, i, j] = x[n, c, h, w], h * x.shape[3] + w
        if pool == "AVE":
            y[n, c, i, j] = y[n, c, i, j] / size if size else np.nan
    return y, mask


def window_of(net):
    window, out = net.graph.nodes[-1].layer._sizes(net.graph.inputs[0].shape)
    return window.kernel, window.stride, window.pad, out


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(("param", "out"), ROWS)
def test_numpy_and_onnxruntime_agree_with_the_loops(pool, param, out):
    body = text(f"pool: {pool} {param}")
    made = check_both(body)["y"]
    assert made.shape == (2, 3, *out)
    net = make(body)
    assert_close(made, by_loops(feed(net)["x"], *window_of(net), pool)[0])
    assert_close(run_onnx(net, feed(net), opset=23)["y"], made)


@pytest.mark.parametrize(("param", "out"), ROWS)
def test_mask(param, out):
    """Whole numbers, so that many are equal; the mask is the first of them."""
    body = text(param, tops=2)
    x = np.random.default_rng(2).integers(-2, 3, (2, 3, 7, 9)).astype(np.float32)
    made = check_both(body, feeds={"x": x})
    y, mask = by_loops(x, *window_of(make(body)), "MAX")
    np.testing.assert_array_equal(made["y"], y)
    np.testing.assert_array_equal(made["mask"], mask)


@pytest.mark.parametrize(("param", "size"), OFF)
def test_windows_off_the_image(param, size):
    x = np.random.default_rng(2).standard_normal((2, 3, *size)).astype(np.float32)
    for pool, tops in (("MAX", 2), ("AVE", 1)):
        net = make(text(f"pool: {pool} {param}", (2, 3, *size), tops))
        y, mask = by_loops(x, *window_of(net), pool)
        assert (y[..., -1, -1] == LOWEST).all() or pool == "AVE"
        numpy, onnxruntime = net.forward({"x": x}), run_onnx(net, {"x": x})
        for made in (numpy, onnxruntime):
            np.testing.assert_allclose(made["y"], y, rtol=1e-5)
            if tops == 2:
                np.testing.assert_array_equal(made["mask"], mask)
        dy = np.ones_like(y)
        grads, _ = net.backward(net.run({"x": x}), {"y": dy})
        assert np.isfinite(grads["x"]).all()


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(("param", "out"), ROWS)
def test_gradients(pool, param, out):
    # Numbers far apart, so that the small steps of the check move no maximum.
    x = np.random.default_rng(4).permutation(2 * 3 * 7 * 9).reshape(2, 3, 7, 9)
    check_gradients(text(f"pool: {pool} {param}"), feeds={"x": (x / 64).astype(np.float32)})


def test_gradient_goes_to_the_first_maximum():
    x = np.array([[1, 2, 2], [2, 0, 2]], np.float32).reshape(1, 1, 2, 3)
    net = make(text("kernel_size: 2", (1, 1, 2, 3)))
    grads, _ = net.backward(net.run({"x": x}), {"y": np.array([[[[3, 5]]]], np.float32)})
    assert grads["x"].tolist() == [[[[0, 8, 0], [0, 0, 0]]]]


@pytest.mark.parametrize(
    "param",
    [
        "kernel_size: 3 stride: 2",
        "kernel_size: 2 stride: 2",
        "kernel_size: 2 stride: 5",
        "global_pooling: true",
    ],
)
def test_stochastic_in_test_is_a_weighted_mean(param):
    body = text(f"pool: STOCHASTIC {param}")
    x = np.maximum(np.random.default_rng(2).standard_normal((2, 3, 7, 9)), 0).astype(np.float32)
    x[:, :, :3, :3] = 0
    made = check_both(body, feeds={"x": x})["y"]
    kernel, stride, *_ = window_of(make(body))
    for i, j in product(range(made.shape[2]), range(made.shape[3])):
        rows, columns = i * stride[0], j * stride[1]
        part = x[:, :, rows : rows + kernel[0], columns : columns + kernel[1]]
        total = part.sum((2, 3))
        want = np.divide((part**2).sum((2, 3)), total, out=np.zeros_like(total), where=total > 0)
        assert_close(made[:, :, i, j], want)


def test_stochastic_is_refused_where_it_draws():
    body = text("pool: STOCHASTIC kernel_size: 3")
    net = make(body, phase="TRAIN")
    with pytest.raises(UnsupportedError, match=r"layer 'pool' \(Pooling\): .* at random in TRAIN"):
        lower(net)
    with pytest.raises(UnsupportedError, match="give the fractions, or select TEST"):
        net.graph.nodes[-1].layer.forward(feed(net)["x"])
    with pytest.raises(UnsupportedError, match="no backward pass"):
        make(body).backward(make(body).run(feed(net)), {"y": np.ones((2, 3, 5, 7), np.float32)})


@pytest.mark.parametrize(
    ("param", "wanted"),
    [
        ("pool: MAX kernel_size: 3 stride: 2", ["MaxPool"]),
        ("pool: MAX kernel_size: 2 stride: 2 pad: 1", ["MaxPool"]),
        ("pool: MAX global_pooling: true", ["GlobalMaxPool"]),
        ("pool: AVE kernel_size: 3 stride: 2", ["AveragePool"]),
        ("pool: AVE kernel_size: 2 stride: 2", ["AveragePool"]),
        ("pool: AVE kernel_size: 3 stride: 2 pad: 1", ["AveragePool"]),
        ("pool: AVE kernel_size: 4 stride: 3 pad: 1", ["Pad", "AveragePool"]),
        ("pool: AVE global_pooling: true", ["GlobalAveragePool"]),
    ],
)
def test_is_onnxs_own_operator(param, wanted):
    """Pads are attributes and no Pad before it, wherever ONNX counts as Caffe does."""
    assert operators(text(param)) == wanted


SIZES = [(h, w) for h in range(5, 12) for w in (h + 1, 14)]


SMALL = [window for window, *_ in WINDOWS if "7" not in window and "8" not in window]
VARYING = [
    (pool, window)
    for pool, window in product(("MAX", "AVE", "STOCHASTIC"), SMALL)
    if pool != "STOCHASTIC" or "pad" not in window
]


@pytest.mark.parametrize(("pool", "window"), VARYING)
@pytest.mark.parametrize("mode", ["CEIL", "FLOOR"])
def test_sizes_may_vary_or_are_refused(pool, window, mode):
    body = text(f"pool: {pool} round_mode: {mode} {window}")
    if pool == "STOCHASTIC":  # a mean weighted by numbers of either sign has no stable value
        body = body.replace(
            'layer { name: "pool" type: "Pooling" bottom: "x"',
            'layer { name: "abs" type: "AbsVal" bottom: "x" top: "abs" } '
            'layer { name: "pool" type: "Pooling" bottom: "abs"',
        )
    open_ = {"x": (None, 3, None, None)}
    window_ = window_of(make(body))[:3]
    slack = [k - s - (p if pool == "AVE" else 0) for k, s, p in zip(*window_, strict=True)]
    padded_max = pool == "MAX" and any(window_[2])
    if mode == "CEIL" and min(slack) < 0 and not padded_max and set(window_[1]) != {1}:
        with pytest.raises(UnsupportedError, match="rounded up needs a fixed height and width"):
            lower(make(body, inputs=open_))
        return
    others = [{"x": (1 + i % 3, 3, *size)} for i, size in enumerate(SIZES)]
    check_varying(body, open_, others)
    check_varying(body, open_, others[:3], opset=23)


def test_one_size_may_vary():
    body = text("kernel_size: 3 stride: 2 pad: 1")
    check_varying(body, {"x": (2, 3, 7, None)}, [{"x": (2, 3, 7, w)} for w in range(5, 15)])


def test_varying_sizes_are_refused_for_the_mask():
    open_ = {"x": (2, 3, None, 9)}
    for param in ("kernel_size: 2", "global_pooling: true"):
        with pytest.raises(UnsupportedError, match="mask needs a fixed height and width"):
            lower(make(text(param, tops=2), inputs=open_))
    check_varying(text("kernel_size: 2", tops=2), {"x": (None, 3, 7, 9)}, [{"x": (5, 3, 7, 9)}])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("kernel_size: 9 stride: 2",),
            r"layer 'pool' \(Pooling\): kernel \(9, 9\) is larger than the input \(7, 9\)",
        ),
        (("kernel_size: 3 pad: 3",), r"pad \(3, 3\) must be smaller than kernel \(3, 3\)"),
        (("kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 2",), r"pad \(1, 2\) must be smaller"),
        (("stride: 2",), "needs either kernel_size, or both kernel_h and kernel_w"),
        (("kernel_h: 2",), "needs either kernel_size"),
        (("kernel_size: 2 kernel_h: 2 kernel_w: 2",), "needs either kernel_size"),
        (("kernel_size: 0",), "kernel dimensions must be nonzero"),
        (("kernel_size: 2 stride: 0",), "stride dimensions must be nonzero"),
        (("kernel_size: 2 stride: 2 stride_h: 2 stride_w: 2",), "either stride or stride_h"),
        (("kernel_size: 2 stride_w: 2",), "stride_h and stride_w go together"),
        (("kernel_size: 2 pad_h: 1",), "pad_h and pad_w go together"),
        (("global_pooling: true kernel_size: 2",), "kernel size cannot be given"),
        (("global_pooling: true kernel_h: 2",), "kernel size cannot be given"),
        (("global_pooling: true stride: 2",), "only pad 0 and stride 1"),
        (("pool: STOCHASTIC kernel_size: 2 pad: 1",), "not for STOCHASTIC"),
        (("kernel_size: 2", (2, 3, 9)), r"4 axes .* has \(2, 3, 9\)"),
        (("pool: AVE kernel_size: 2", (2, 3, 7, 9), 2), "only MAX has a second top"),
    ],
)
def test_refused(args, message):
    with pytest.raises(ShapeError, match=message):
        make(text(*args))


@st.composite
def pools(draw):
    """A Pooling layer's text, both sizes of the image of their own."""
    pool = draw(st.sampled_from(["MAX", "AVE"]))
    param = f"pool: {pool} round_mode: {draw(st.sampled_from(['CEIL', 'FLOOR']))} "
    for axis in "hw":
        kernel = draw(st.integers(1, 4))
        param += f"kernel_{axis}: {kernel} stride_{axis}: {draw(st.integers(1, 5))} "
        param += f"pad_{axis}: {draw(st.integers(0, kernel - 1))} "
    shape = (2, 3, draw(st.integers(4, 8)), draw(st.integers(9, 12)))
    tops = draw(st.integers(1, 2)) if pool == "MAX" else 1
    return pool, text(param, shape, tops)


@given(pools())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_pooling(drawn):
    pool, body = drawn
    try:
        net = make(body)
    except ShapeError:
        assume(False)
    feeds = feed(net)
    y, mask = by_loops(feeds["x"], *window_of(net), pool)
    for made in (net.forward(feeds), run_onnx(net, feeds)):
        np.testing.assert_allclose(made["y"], y, rtol=1e-4, atol=1e-6)
        if "mask" in made:
            np.testing.assert_array_equal(made["mask"], mask)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("huge", "same"),
    [
        ("kernel_size: 3 stride: 2147483647", "kernel_size: 3 stride: 40"),
        ("kernel_size: 2000000000 stride: 2000000000", "global_pooling: true"),
    ],
)
def test_numbers_beyond_the_image_cost_no_memory(pool, huge, same):
    first, second = (check_both(text(f"pool: {pool} {each}")) for each in (huge, same))
    assert_close(first["y"], second["y"], 1e-6)


def test_numbers_that_caffe_cannot_hold():
    with pytest.raises(ShapeError, match=r"stride \(2147483648, 2147483648\): Caffe counts to"):
        make(text("kernel_size: 3 stride: 2147483648"))


def test_no_gradient_flows_through_a_window_off_the_image():
    """Its max is -FLT_MAX and its index -1, as CEIL and stride > kernel leave it."""
    off = 'type: "Pooling" pooling_param { kernel_size: 1 stride: 3 }'
    net = make(one_layer(off, (1, 1, 5, 4)))
    values = net.run(feed(net))
    assert values["y"].shape == (1, 1, 3, 2)
    assert (values["y"][0, 0, 2] == np.finfo(np.float32).min).all()
    grads, _ = net.backward(values, {"y": np.ones_like(values["y"])})
    want = np.zeros((5, 4), np.float32)
    want[:4:3, ::3] = 1
    np.testing.assert_array_equal(grads["a"][0, 0], want)
