"""Pooling by a learned gate (Lee, Gallagher and Tu 2016, Generalizing pooling functions)."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Blob, Layer
from ..pools import LOWEST, inner_divisors, pad, reduce, spread
from ..registry import layer
from ..spatial import conv_window, pool_size
from ..window import Window
from .activation import sigmoid


class _Gated(Layer):
    """p a + (1 - p) b for two answers a and b to a window, with p = sigmoid(its elements * gate).

    Filters are alike for all channels; a window may end behind the image, where it reads 0.
    """

    filters: tuple[str, ...] = ("gate",)

    def blobs(self, x: Shape) -> list[Blob]:
        shape = (1, 1, *self._window().kernel)
        return [Blob(name, shape, self.p.weight_filler) for name in self.filters]

    def _window(self) -> Window:
        window = conv_window(self.p, 2)
        if window.padded or set(window.dilation) != {1}:
            raise ShapeError("takes no pad and no dilation")
        if any(s > k for s, k in zip(window.stride, window.kernel, strict=True)):
            raise UnsupportedError(f"stride {window.stride} above the kernel {window.kernel}")
        return window

    def _out(self, x: Shape) -> Shape:
        return pool_size(x[2:], self._window(), ceil=True)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        return [(*x[:2], *self._out(x))]

    def _answers(self, x: Array, **filters: Array) -> tuple[Array, Array]:
        """Return the two answers to each window."""
        raise NotImplementedError

    def _send(
        self, flows: tuple[Array, Array], x: Array, answers: tuple[Array, Array], **filters: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """Return the answers' gradients at the bottom and at their filters."""
        raise NotImplementedError

    def _filter(self, x: Array, weight: Array) -> Array:
        window, out = self._window(), self._out(x.shape)
        padded = pad(x, window, out, 0)
        taps = zip(window.taps(out), weight.ravel(), strict=True)
        total: Array = sum(padded[tap] * w for tap, w in taps)
        return total

    def _unfilter(self, flow: Array, x: Array, weight: Array) -> tuple[Array, Array]:
        """Return the gradients of `_filter`."""
        window = self._window()
        padded = pad(x, window, flow.shape[2:], 0)
        dx, dw = np.zeros_like(padded), []
        for tap, w in zip(window.taps(flow.shape[2:]), weight.ravel(), strict=True):
            dx[tap] += flow * w
            dw.append(np.sum(flow * padded[tap]))
        return dx[:, :, : x.shape[2], : x.shape[3]], np.array(dw, np.float32).reshape(weight.shape)

    def forward(self, x: Array, gate: Array, **filters: Array) -> Array:
        share = sigmoid(self._filter(x, gate))
        one, other = self._answers(x, **filters)
        return share * one + (1 - share) * other

    def backward(self, dy: Array, x: Array, gate: Array, **filters: Array) -> tuple[Array, ...]:
        share = sigmoid(self._filter(x, gate))
        answers = self._answers(x, **filters)
        flow = dy * share * (1 - share) * (answers[0] - answers[1])
        dx, dgate = self._unfilter(flow, x, gate)
        more, dfilters = self._send((dy * share, dy * (1 - share)), x, answers, **filters)
        return (dx + more, *dfilters, dgate)

    def lower(self, g: Builder, x: str, gate: str, **filters: str) -> str:
        channels, height, width = (g.fixed(x, axis) for axis in (1, 2, 3))
        window, out = self._window(), self._out((1, channels, height, width))
        ends = [max(0, n) for n in window.overhang((height, width), out)]
        planes = g.Reshape(x, int64(-1, 1, height, width))
        attributes = window.attributes(ends)
        share = g.Sigmoid(g.Conv(planes, gate, **attributes))
        if filters:
            one, other = (g.Conv(planes, weight, **attributes) for weight in filters.values())
        else:
            one = g.MaxPool(planes, **attributes)
            other = g.AveragePool(planes, **attributes)
        y = g.Add(g.Mul(share, one), g.Mul(g.Sub(np.float32(1), share), other))
        return g.Reshape(y, int64(-1, channels, *out))


@layer(param="convolution_param")
class TreepoolMaxAve(_Gated):
    """Max and mean of each window, gated.

    From: chl260's gen_pool, treepool_max_ave_layer.cu (by reading alone)
    Refused: a stride above the kernel; in ONNX, a varying height or width.
    """

    def _answers(self, x: Array, **filters: Array) -> tuple[Array, Array]:
        window, out = self._window(), self._out(x.shape)
        largest = reduce(np.maximum, pad(x, window, out, LOWEST), window, out)
        total = reduce(np.add, pad(x, window, out, 0), window, out)
        return largest, total / inner_divisors(x.shape[2:], window, out)

    def _send(
        self, flows: tuple[Array, Array], x: Array, answers: tuple[Array, Array], **filters: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        window, (out, size) = self._window(), (flows[0].shape[2:], x.shape[2:])
        padded = pad(x, window, out, LOWEST)
        dx = np.zeros_like(padded)
        for tap in window.taps(out):
            dx[tap] += flows[0] * (padded[tap] == answers[0])  # all that are the max, as the fork
        mean = spread(flows[1] / inner_divisors(size, window, out), window, size)
        return dx[:, :, : size[0], : size[1]] + mean, ()


@layer(param="convolution_param")
class TreepoolKernel1L(_Gated):
    """Two filters' answers to each window, gated.

    From: chl260's gen_pool, treepool_kernel_1l_layer.cpp and .cu (by reading alone)
    Refused: a stride above the kernel; in ONNX, a varying height or width.
    """

    filters = ("first", "second", "gate")

    def _answers(self, x: Array, **filters: Array) -> tuple[Array, Array]:
        return self._filter(x, filters["first"]), self._filter(x, filters["second"])

    def _send(
        self, flows: tuple[Array, Array], x: Array, answers: tuple[Array, Array], **filters: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        one, other = (
            self._unfilter(flow, x, filters[name])
            for flow, name in zip(flows, ("first", "second"), strict=True)
        )
        return one[0] + other[0], (one[1], other[1])
