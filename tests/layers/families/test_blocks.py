"""Blocks between positions, channels and the batch, and paddings, beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import check_both, check_gradients, feed, make, one_layer


@pytest.mark.parametrize("order", ["NCHW", "DCR", "CRD"])
def test_depth_to_space(order):
    param = f'depth_to_space_param {{ block_size: 2 data_format: "{order}" }}'
    text = one_layer(f'type: "DepthToSpace" {param}', (2, 12, 3, 5))
    x = feed(make(text))["a"]
    want = np.empty((2, 3, 6, 10), np.float32)
    for c, i, j in np.ndindex(3, 2, 2):
        channel = 4 * c + 2 * i + j if order == "CRD" else 3 * (2 * i + j) + c
        want[:, c, i::2, j::2] = x[:, channel]
    assert np.array_equal(check_both(text)["y"], want)
    check_gradients(text)


@pytest.mark.parametrize("param", ["block_size: 2", 'block_size: 2 data_format: "NHWC"'])
def test_depth_to_space_of_channels_that_are_last(param):
    """NHWC, the fork's own default: number by number, as its loops have them."""
    text = one_layer(f'type: "DepthToSpace" depth_to_space_param {{ {param} }}', (2, 3, 5, 12))
    x = feed(make(text))["a"]
    want = np.empty((2, 6, 10, 3), np.float32)
    for h, w, d in np.ndindex(6, 10, 3):
        want[:, h, w, d] = x[:, h // 2, w // 2, (2 * (h % 2) + w % 2) * 3 + d]
    assert np.array_equal(check_both(text)["y"], want)
    check_gradients(text)


def space_to_batch(x, block, pads):
    """TensorFlow's space_to_batch_nd over the axes behind the first, place by place."""
    padded = np.pad(x, [(0, 0), *pads, *[(0, 0)] * (x.ndim - 1 - len(pads))])
    places = [
        padded[(slice(None), *(slice(p, None, b) for p, b in zip(place, block, strict=True)))]
        for place in np.ndindex(*block)
    ]
    return np.concatenate(places)


@pytest.mark.parametrize(
    ("block", "pads"),
    [([1, 2, 3], [(0, 0), (1, 2), (0, 2)]), ([3, 2], [(0, 0), (0, 1)]), ([3], [(1, 2)])],
)
def test_space_to_batch_and_back(block, pads):
    shape = (2, 3, 5, 7)
    blocks = " ".join(f"block_shape: {n}" for n in block)
    ends = [n for pair in pads for n in pair]
    paddings = " ".join(f"paddings: {n}" for n in ends)
    param = f"space_to_batch_nd_param {{ {blocks} {paddings} }}"
    text = one_layer(f'type: "SpaceToBatchND" {param}', shape)
    x = feed(make(text))["a"]
    want = space_to_batch(x, block, pads)
    assert np.array_equal(check_both(text)["y"], want)
    check_gradients(text)
    crops = " ".join(f"crops: {n}" for n in ends)
    param = f"batch_to_space_nd_param {{ {blocks} {crops} }}"
    back = one_layer(f'type: "BatchToSpaceND" {param}', want.shape)
    assert np.array_equal(check_both(back, feeds={"a": want})["y"], x)
    check_gradients(back)


@pytest.mark.parametrize("value", [0, 2.5])
def test_pad(value):
    param = f"paddings: 0 paddings: 1 paddings: 2 paddings: 0 constant_values: {value}"
    text = one_layer(f'type: "Pad" pad_param {{ {param} }}', (3, 5))
    x = feed(make(text))["a"]
    want = np.full((4, 7), value, np.float32)
    want[:3, 2:] = x
    assert np.array_equal(check_both(text)["y"], want)
    check_gradients(text)


@pytest.mark.parametrize("kind", ["Add", "Mul"])
@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((1, 4), (5, 3, 1))]
)
def test_broadcasting(kind, shapes):
    text = one_layer(f'type: "{kind}"', *shapes)
    a, b = feed(make(text, fork="synopsys-caffe")).values()
    want = np.add(a, b) if kind == "Add" else np.multiply(a, b)
    assert np.array_equal(check_both(text, fork="synopsys-caffe")["y"], want)


@pytest.mark.parametrize(
    ("body", "shape", "error", "words"),
    [
        ('type: "DepthToSpace" depth_to_space_param { block_size: 2 data_format: "NCHW" }',
         (2, 6, 3, 5), ShapeError, "2 x 2"),
        ('type: "DepthToSpace" depth_to_space_param { block_size: 2 }',
         (2, 8, 3, 5), ShapeError, "2 x 2"),
        ('type: "DepthToSpace" depth_to_space_param { block_size: 2 data_format: "CHW" }',
         (2, 8, 3, 5), UnsupportedError, "'CHW' is not supported"),
        ('type: "SpaceToBatchND" space_to_batch_nd_param { block_shape: 2 '
         "paddings: 0 paddings: 0 }", (2, 3, 5, 7), ShapeError, "does not divide"),
        ('type: "BatchToSpaceND" batch_to_space_nd_param { block_shape: 3 crops: 0 crops: 0 }',
         (2, 3, 5, 7), ShapeError, "does not divide"),
        ('type: "Pad" pad_param { paddings: 1 }', (2, 3), ShapeError, "two each"),
    ],
)  # fmt: skip
def test_refused(body, shape, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, shape))
