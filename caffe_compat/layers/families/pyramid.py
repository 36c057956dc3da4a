"""Pooling over a pyramid of ever finer grids."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter, PoolingParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer
from ..registry import layer
from ..spatial import pool_window
from .pooling import Pooling


@layer(param="spp_param")
class SPP(Layer):
    """Pooling on grids of 1, 2, 4, ... bins a side, side by side (He et al. 2014; spp_layer.cpp).

    Refused: STOCHASTIC, which draws at random in either phase; a varying height or width.
    """

    def _levels(self, x: Shape) -> list[Pooling]:
        if len(x) != 4 or 0 in x[2:]:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        if self.p.pool == PoolingParameter.STOCHASTIC:
            raise UnsupportedError("STOCHASTIC pooling in an SPP layer draws at random")
        if self.p.pyramid_height < 1:
            raise ShapeError(f"pyramid_height must be positive, and is {self.p.pyramid_height}")
        levels = []
        for level in range(self.p.pyramid_height):
            kernel = [-(-n // 2**level) for n in x[2:]]
            # Caffe pads either end by half of the bins' excess over the image, rounded up.
            pad = [(k * 2**level - n + 1) // 2 for k, n in zip(kernel, x[2:], strict=True)]
            param = PoolingParameter(pool=self.p.pool)
            param.kernel_h, param.kernel_w = param.stride_h, param.stride_w = kernel
            param.pad_h, param.pad_w = pad
            pool_window(param, x[2:])  # raises where a level has more bins than elements
            levels.append(Pooling(LayerParameter(top=[""], pooling_param=param)))
        return levels

    def shapes(self, x: Shape) -> list[Shape | None]:
        tops = [level.shapes(x)[0] for level in self._levels(x)]
        if len(tops) == 1:
            return tops
        return [(x[0], sum(prod(top[1:]) for top in tops if top))]

    def forward(self, x: Array) -> Array:
        tops = [np.asarray(level.forward(x)) for level in self._levels(x.shape)]
        if len(tops) == 1:
            return tops[0]
        return np.concatenate([top.reshape(len(x), prod(top.shape[1:])) for top in tops], axis=1)

    def backward(self, dy: Array, x: Array) -> Array:
        dx = np.zeros_like(x)
        start = 0
        for level in self._levels(x.shape):
            shape = level.shapes(x.shape)[0] or ()
            stop = start + prod(shape[1:])
            dx += level.backward(dy.reshape(len(x), -1)[:, start:stop].reshape(shape), x)
            start = stop
        return dx

    def lower(self, g: Builder, x: str) -> str:
        shape = (1, g.fixed(x, 1), g.fixed(x, 2), g.fixed(x, 3))
        tops = [level.lower(g, x)[0] for level in self._levels(shape)]
        return tops[0] if len(tops) == 1 else g.Concat(*map(g.Flatten, tops), axis=1)
