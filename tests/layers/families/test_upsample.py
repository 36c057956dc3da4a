"""Upsample, MaxUnPool and Unpooling."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import check_both, check_gradients, check_varying, make, operators, run_onnx


def blob(name, shape):
    sizes = " ".join(f"dim: {n}" for n in shape)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param '
        f"{{ shape {{ {sizes} }} }} }}\n"
    )


def text(kind, param, shape=(2, 3, 4, 5), mask=None):
    field = {"Upsample": "upsample", "Unpooling": "unpooling"}.get(kind, "max_unpool")
    bottoms = 'bottom: "x"' + (' bottom: "mask"' if mask else "")
    return (
        blob("x", shape)
        + (blob("mask", mask) if mask else "")
        + (f'layer {{ name: "l" type: "{kind}" {bottoms} top: "y" {field}_param {{ {param} }} }}')
    )


def through(pool, kind, param, shape=(2, 3, 8, 10)):
    """A picture pooled with its mask and back."""
    field = {"Upsample": "upsample", "Unpooling": "unpooling"}[kind]
    return (
        blob("x", shape)
        + f"""
        layer {{ name: "p" type: "Pooling" bottom: "x" top: "p" top: "mask"
                 pooling_param {{ {pool} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "p" bottom: "mask" top: "y"
                 {field}_param {{ {param} }} }}"""
    )


def run(body, x, **feeds):
    net, feeds = make(body), {"x": np.array(x, np.float32)[None, None], **feeds}
    made = net.forward(feeds)["y"]
    np.testing.assert_array_equal(run_onnx(net, feeds)["y"], made)
    return made[0, 0].tolist()


def masked(*rows):
    return {"mask": np.array(rows, np.float32)[None, None]}


ONE = (1, 1, 1, 2)


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("Upsample", ""),
        ("Upsample", "scale: 2"),
        ("Upsample", "scale_h: 2 scale_w: 2"),
        ("Upsample", "upsample_h: 2 upsample_w: 4"),
        ("MaxUnPool", "dst_h: 2 dst_w: 4"),
        ("MaxUnpool", "dst_h: 2 dst_w: 4"),
        ("Unpooling", "kernel_size: 2 stride: 2 unpool_h: 2 unpool_w: 4"),
    ],
)
def test_mask_by_hand(kind, param):
    """Two values into a top of 2 x 4, at places 6 (row 1, column 2) and 1 (row 0, column 1)."""
    body = text(kind, param, ONE, mask=ONE)
    assert run(body, [[3, 7]], **masked([6, 1])) == [[0, 7, 0, 0], [0, 0, 3, 0]]


def test_pads_out_by_hand():
    body = text("Upsample", "scale: 2 pad_out_h: true pad_out_w: true", ONE, mask=ONE)
    assert run(body, [[3, 7]], **masked([2, 0])) == [[7, 0, 3]]


def test_repeats_by_hand():
    assert run(text("Upsample", "scale: 2", ONE), [[3, 7]]) == [[3, 3, 7, 7], [3, 3, 7, 7]]
    assert run(text("Upsample", "", ONE), [[3, 7]]) == [[3, 7]]
    assert operators(text("Upsample", "scale: 3")) == ["Resize"]  # no matrix product


def test_unpooling_by_hand():
    """Windows of 2 x 3 two columns apart: the middle column is in both."""
    param = "kernel_h: 2 kernel_w: 3 stride: 2 unpool_h: 2 unpool_w: 5"
    assert run(text("Unpooling", f"{param} unpool: MAX", ONE), [[6, 12]]) == [
        [6, 0, 12, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert (
        run(text("Unpooling", f"{param} unpool: TILE", ONE), [[6, 12]]) == [[6, 6, 18, 12, 12]] * 2
    )
    assert run(text("Unpooling", f"{param} unpool: AVE", ONE), [[6, 12]]) == [[1, 1, 3, 2, 2]] * 2
    # In a top too small the last values stand on the edge, the last of them stays.
    small = "kernel_size: 1 stride: 2 unpool_h: 1 unpool_w: 2"
    assert run(text("Unpooling", small, (1, 1, 1, 3)), [[6, 12, 5]]) == [[6, 5]]
    clipped = "kernel_size: 3 stride: 2 unpool_h: 1 unpool_w: 4 unpool: AVE"
    assert run(text("Unpooling", clipped, ONE), [[6, 12]]) == [[2, 2, 8, 6]]


POOLS = [
    ("kernel_size: 2 stride: 2", "Upsample", "scale: 2"),
    ("kernel_size: 2 stride: 2", "Upsample", "upsample_h: 8 upsample_w: 10"),
    ("kernel_size: 2 stride: 2", "Unpooling", "kernel_size: 2 stride: 2 unpool_h: 8 unpool_w: 10"),
]


@pytest.mark.parametrize(("pool", "kind", "param"), POOLS)
def test_pooled_and_back(pool, kind, param):
    body = through(pool, kind, param)
    made = check_both(body)["y"]
    x = np.random.default_rng(7).standard_normal((2, 3, 8, 10)).astype(np.float32)
    kept = made != 0
    assert kept.sum() == made.size / 4
    np.testing.assert_array_equal(made[kept], x[kept])
    if "_h:" in param:
        check_varying(body, {"x": (None, 3, 8, 10)}, [{"x": (4, 3, 8, 10)}, {"x": (1, 3, 8, 10)}])


def test_gradients():
    # Numbers far apart, so that the small steps of the check move no maximum.
    x = np.random.default_rng(3).permutation(240).reshape(1, 3, 8, 10) / 64
    check_gradients(through(*POOLS[0], shape=(1, 3, 8, 10)), feeds={"x": x.astype(np.float32)})
    for body in (
        text("Upsample", "scale: 3"),
        text("Unpooling", "kernel_size: 3 stride: 2 unpool_size: 9 unpool: AVE"),
        text("Unpooling", "kernel_size: 3 stride: 2 unpool_size: 9"),
    ):
        check_gradients(body)


def test_sizes_that_vary():
    check_varying(
        text("Upsample", "scale: 2"),
        {"x": (None, 3, None, None)},
        [{"x": (1, 3, 2, 9)}, {"x": (2, 3, 4, 5)}],
    )
    body = text("Unpooling", "kernel_size: 2 stride: 2 unpool_size: 9 unpool: TILE")
    check_varying(body, {"x": (None, 3, 4, 5)}, [{"x": (1, 3, 4, 5)}])
    with pytest.raises(UnsupportedError, match="fixed size"):
        lower(make(through(*POOLS[0]), inputs={"x": (2, 3, None, None)}))


def test_places_beyond_the_top_are_refused():
    body = text("Upsample", "", ONE, mask=ONE)
    for wrong in (8, -1):
        with pytest.raises(ShapeError, match=r"the top \(2, 4\) has places 0 to 7"):
            run(body, [[3, 7]], **masked([wrong, 1]))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (text("Upsample", "upsample_h: 8 upsample_w: 8"), "upsample_h without a mask, the second"),
        (text("Upsample", "scale_h: 2 scale_w: 2"), "scale_h without a mask, the second"),
        (text("Upsample", "scale: 0"), "scale must be positive, and is 0"),
        (text("Upsample", "scale: 1", mask=(2, 3, 4, 5)), "the scale must be 2 or more, and is 1"),
        (text("Upsample", "scale_h: 2", mask=(2, 3, 4, 5)), "scale_h and scale_w go together"),
        (text("Upsample", "scale: 2 scale_h: 2 scale_w: 2", mask=(2, 3, 4, 5)), "either scale or"),
        (text("Upsample", "scale: 3 pad_out_w: true", mask=(2, 3, 4, 5)), "pad_out_w wants a"),
        (text("Upsample", "", mask=(2, 3, 4, 6)), "the mask (2, 3, 4, 6) must have the bottom's"),
        (text("Upsample", "upsample_h: 1 upsample_w: 8", mask=(2, 3, 4, 5)), "must be 2 or more"),
        (text("Upsample", "", (4, 5)), "needs a bottom of 4 axes"),
        (text("MaxUnPool", "dst_h: 3", mask=(2, 3, 4, 5)), "dst_h 3 and dst_w 0 must be positive"),
        (text("Unpooling", "kernel_size: 2"), "needs unpool_size, or unpool_h and unpool_w"),
        (text("Unpooling", "unpool_size: 2"), "needs kernel_size, or kernel_h and kernel_w"),
        (text("Unpooling", "kernel_size: 2 unpool_size: 9 pad: 1"), "Caffe itself allows none"),
        (text("Unpooling", "kernel_size: 2 unpool_size: 9 unpool_h: 1"), "either unpool_size, or"),
        (
            text("Unpooling", "kernel_size: 2 unpool_size: 9 unpool: AVE", mask=(2, 3, 4, 5)),
            "AVE and TILE take no mask",
        ),
    ],
)
def test_errors(body, message):
    with pytest.raises(CaffeCompatError, match=re.escape(message)):
        make(body)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_mask(data):
    shape = tuple(data.draw(st.integers(1, 4)) for _ in range(4))
    size = tuple(n * data.draw(st.integers(2, 3)) for n in shape[2:])
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    planes, count = shape[0] * shape[1], shape[2] * shape[3]
    places = np.stack([rng.permutation(size[0] * size[1])[:count] for _ in range(planes)])
    feeds = {
        "x": rng.standard_normal(shape).astype(np.float32),
        "mask": places.reshape(shape).astype(np.float32),
    }
    made = check_both(
        text("MaxUnPool", f"dst_h: {size[0]} dst_w: {size[1]}", shape, mask=shape), feeds=feeds
    )["y"]
    check_both(
        text("MaxUnpool", f"dst_h: {size[0]} dst_w: {size[1]}", shape, mask=shape), feeds=feeds
    )
    by_mask = f"upsample_h: {size[0]} upsample_w: {size[1]}"
    check_both(text("Upsample", by_mask, shape, mask=shape), feeds=feeds)
    check_both(text("Upsample", f"scale: {data.draw(st.integers(1, 4))}", shape))
    flat = made.reshape(planes, -1)
    for plane in range(planes):
        values = feeds["x"].reshape(planes, -1)[plane]
        np.testing.assert_array_equal(flat[plane, places[plane]], values)
    kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    for way in ("MAX", "AVE", "TILE"):
        param = f"kernel_size: {kernel} stride: {stride} unpool_size: {size[0] + 3} unpool: {way}"
        if all((n - 1) * stride < size[0] + 3 for n in shape[2:]):
            check_both(text("Unpooling", param, shape))


def test_average_of_a_window_that_lies_off_the_top():
    """In the fork its loops do nothing; here nothing was divided by its size, 0."""
    param = "kernel_size: 2 unpool_h: 2 unpool_w: 3 unpool: AVE"
    made = check_both(text("Unpooling", param, (1, 2, 4, 5)))["y"]
    assert made.shape == (1, 2, 2, 3)
