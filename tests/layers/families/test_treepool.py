"""Pooling by a learned gate, beside loops over windows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, check_varying, feed, make, one_layer

BODY = (
    'type: "{}" convolution_param {{ kernel_size: {} stride: {} '
    'weight_filler {{ type: "gaussian" std: 0.5 }} }}'
)
SHAPE = (2, 3, 7, 8)


def by_loops(x, filters, kernel, stride):
    """The last filter is the gate; the others answer, or the max and the mean."""
    out = [math.ceil((n - kernel) / stride) + 1 for n in x.shape[2:]]
    y = np.zeros((*x.shape[:2], *out))
    for n, c, i, j in np.ndindex(*y.shape):
        window, answers = [], [0.0] * len(filters)
        for u, v in np.ndindex(kernel, kernel):
            row, column = i * stride + u, j * stride + v
            if row < x.shape[2] and column < x.shape[3]:
                value = float(x[n, c, row, column])
                window.append(value)
                for k, weight in enumerate(filters):
                    answers[k] += value * float(weight[0, 0, u, v])
        share = 1 / (1 + math.exp(-answers[-1]))
        one, other = answers[:2] if len(filters) == 3 else (max(window), sum(window) / len(window))
        y[n, c, i, j] = share * one + (1 - share) * other
    return y


@pytest.mark.parametrize("kind", ["TreepoolMaxAve", "TreepoolKernel1L"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (3, 3), (3, 1)])
def test_by_loops(kind, kernel, stride):
    text = one_layer(BODY.format(kind, kernel, stride), SHAPE)
    net = make(text)
    want = by_loops(feed(net)["a"], net.arrays[-1], kernel, stride)
    assert len(net.arrays[-1]) == (1 if kind == "TreepoolMaxAve" else 3)
    assert_close(check_both(text)["y"], want)
    check_gradients(text)


def test_a_varying_batch():
    text = one_layer(BODY.format("TreepoolMaxAve", 3, 2), SHAPE)
    check_varying(text, {"a": (None, *SHAPE[1:])}, [{"a": (n, *SHAPE[1:])} for n in (1, 3)])
    with pytest.raises(UnsupportedError, match="at a fixed size"):
        lower(make(text, inputs={"a": (2, 3, None, 8)}))


@pytest.mark.parametrize(
    ("body", "shape", "error", "words"),
    [
        (BODY.format("TreepoolMaxAve", 2, 3), SHAPE, UnsupportedError, "above the kernel"),
        (BODY.format("TreepoolMaxAve", "3 pad: 1", 2), SHAPE, ShapeError, "no pad"),
        (BODY.format("TreepoolKernel1L", 3, 2), (2, 3), ShapeError, "4 axes"),
    ],
)
def test_refused(body, shape, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, shape))
