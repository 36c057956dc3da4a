"""Images warped by a flow or by a transformation that the net computes."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import FlowWarpParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..bilinear import Corners, corners, lower_sample, sample, sample_gradients
from ..builder import FLOAT, Builder, Operand, int64
from ..layer import Layer
from ..registry import layer


class _Warping(Layer):
    """Bilinear samples of the first bottom, moved by the second: columns and rows in pixels.

    Attributes:
        beyond: how far behind the last row or column a place may be, in pixels.
    """

    beyond = 0

    def shapes(self, x: Shape, flow: Shape) -> list[Shape | None]:
        if len(x) != 4 or flow != (x[0], 2, *x[2:]):
            raise ShapeError(f"needs an image (N, C, H, W) and a flow (N, 2, H, W): {x}, {flow}")
        return [x]

    @property
    def _outside(self) -> np.float32:
        """The value of pixels that come from beyond the image."""
        return np.float32(0)

    def _places(self, x: Array, flow: Array) -> tuple[Corners, Array]:
        """Return the pixels around each place, and whether it is in the image."""
        height, width = x.shape[2:]
        columns = np.arange(width, dtype=np.float32) + flow[:, 0]
        rows = np.arange(height, dtype=np.float32)[:, None] + flow[:, 1]
        inside = np.ones(rows.shape, bool)
        for at, n in ((rows, height), (columns, width)):
            inside &= (at >= 0) & (at < n if self.beyond else at <= n - 1)
        return corners((height, width), rows, columns, zeros=False), inside[:, None]

    def forward(self, x: Array, flow: Array) -> Array:
        places, inside = self._places(x, flow)
        return np.where(inside, sample(x, places), self._outside)

    def backward(self, dy: Array, x: Array, flow: Array) -> tuple[Array, Array]:
        places, inside = self._places(x, flow)
        dx, drows, dcolumns = sample_gradients(np.where(inside, dy, np.float32(0)), x, places)
        return dx, np.stack([dcolumns, drows], axis=1)

    def lower(self, g: Builder, x: str, flow: str) -> str:
        pixel = [
            self._lower_pixels(g, x, axis, shape)
            for axis, shape in ((3, (1, 1, -1)), (2, (1, -1, 1)))
        ]
        parts = g.Split(flow, int64(1, 1), axis=1, outputs=2)
        columns, rows = (
            g.Add(g.Squeeze(part, int64(1)), start)
            for part, start in zip(parts, pixel, strict=True)
        )
        within = [self._lower_inside(g, x, axis, at) for axis, at in ((3, columns), (2, rows))]
        inside = g.Unsqueeze(g.And(*within), int64(1))
        return g.Where(inside, lower_sample(g, x, rows, columns, zeros=False), self._outside)

    def _lower_pixels(self, g: Builder, x: str, axis: int, shape: Shape) -> Operand:
        """Write the indices along an axis of the image, in that shape."""
        size = g.dims(x)[axis]
        if size is not None:
            return np.arange(size, dtype=np.float32).reshape(shape)
        count = g.Squeeze(g.Shape(x, start=axis, end=axis + 1), int64(0))
        index = g.Range(np.array(0, np.int64), count, np.array(1, np.int64))
        return g.Reshape(g.Cast(index, to=FLOAT), int64(*shape))

    def _lower_inside(self, g: Builder, x: str, axis: int, at: str) -> str:
        size = g.dims(x)[axis]
        if size is None:
            count = g.Cast(g.Shape(x, start=axis, end=axis + 1), to=FLOAT)
            end: Operand = count if self.beyond else g.Sub(count, np.float32(1))
        else:
            end = np.float32(size if self.beyond else size - 1)
        below = g.Less(at, end) if self.beyond else g.LessOrEqual(at, end)
        return g.And(g.GreaterOrEqual(at, np.float32(0)), below)


@layer(param="flow_warp_param", bottoms=2)
class FlowWarp(_Warping):
    """Each pixel of an image from where a flow points: (x + flow 0, y + flow 1), bilinear.

    From beyond the image it is `fill_value`.

    From: lmb-freiburg/flownet2, src/caffe/layers/flow_warp_layer.cpp (Ilg et al. 2017)
    """

    beyond = 1

    @property
    def _outside(self) -> np.float32:
        fill = self.p.fill_value
        return np.float32(0 if fill == FlowWarpParameter.ZERO else np.nan)


@layer(bottoms=2)
class Warp(_Warping):
    """Each pixel of an image from where a flow points, as FlowWarp, and 0 behind its last pixel.

    Where a flow is a whole number, the fork adds a mean of the slopes on both sides to its
    gradient; here that is the slope on one side.

    From: NVlabs/PWC-Net, Caffe/warping_code/warp_layer.cu (Sun et al. 2018; by reading alone)
    """


_THETA = ("theta_1_1", "theta_1_2", "theta_1_3", "theta_2_1", "theta_2_2", "theta_2_3")


@layer(param="st_param", bottoms=2)
class SpatialTransformer(Layer):
    """Bilinear samples of an image at affine places, [row column] = theta [y x 1], 0 beyond it.

    y and x are from -1 to 1, row and column likewise in the image; theta has the numbers that
    the second bottom gives, in order, and the prototxt's theta_1_1 to theta_2_3 (Jaderberg et al.
    2015). With to_compute_dU false the image gets no gradient.

    From: daerduoCarey/SpatialTransformerLayer, src/caffe/layers/st_layer.cpp
    Refused: another transform_type than affine, another sampler_type than bilinear.
    """

    @property
    def _stated(self) -> dict[int, float]:
        """The numbers of theta that the prototxt gives, by index."""
        names = enumerate(_THETA)
        return {i: getattr(self.p, name) for i, name in names if self.p.HasField(name)}

    def shapes(self, x: Shape, theta: Shape) -> list[Shape | None]:
        for field, value in (("transform_type", "affine"), ("sampler_type", "bilinear")):
            if getattr(self.p, field) != value:
                raise UnsupportedError(f"{field} {getattr(self.p, field)!r}; the fork has {value}")
        if len(x) != 4 or theta[:1] != x[:1] or not prod(theta[1:]) == 6 - len(self._stated) > 0:
            raise ShapeError(
                f"needs an image of 4 axes and as many thetas, of {6 - len(self._stated)} numbers "
                f"each: {x}, {theta}"
            )
        return [(*x[:2], *self._size(x))]

    def _size(self, x: Shape) -> Shape:
        sizes = (("output_H", x[2]), ("output_W", x[3]))
        return tuple(getattr(self.p, k) if self.p.HasField(k) else n for k, n in sizes)

    def _grid(self, x: Shape) -> Array:
        """Return the places of the top's pixels from -1 to 1, (3, pixels)."""
        height, width = self._size(x)
        rows, columns = np.indices((height, width)).reshape(2, -1)
        ends = [rows / height * 2 - 1, columns / width * 2 - 1, np.ones(height * width)]
        return np.stack(ends).astype(np.float32)

    def _thetas(self, theta: Array) -> Array:
        full = np.empty((len(theta), 6), np.float32)
        free = [i for i in range(6) if i not in self._stated]
        full[:, free] = theta.reshape(len(theta), -1)
        full[:, list(self._stated)] = np.array([*self._stated.values()], np.float32)
        return full.reshape(-1, 2, 3)

    def _places(self, x: Array, theta: Array) -> Corners:
        height, width = self._size(x.shape)
        half = np.float32(0.5)
        places: Array = (self._thetas(theta) @ self._grid(x.shape) + 1) * half
        rows, columns = places.reshape(-1, 2, height, width).swapaxes(0, 1)
        rows, columns = rows * np.float32(x.shape[2]), columns * np.float32(x.shape[3])
        return corners((x.shape[2], x.shape[3]), rows, columns, zeros=True)

    def forward(self, x: Array, theta: Array) -> Array:
        return sample(x, self._places(x, theta))

    def backward(self, dy: Array, x: Array, theta: Array) -> tuple[Array | None, Array]:
        dx, *moved = sample_gradients(dy, x, self._places(x, theta))
        half = np.array(x.shape[2:], np.float32) * np.float32(0.5)
        places = np.stack(moved, axis=1).reshape(len(x), 2, -1) * half[:, None]
        full = np.asarray(places @ self._grid(x.shape).T, np.float32).reshape(len(x), 6)
        free = [i for i in range(6) if i not in self._stated]
        return dx if self.p.to_compute_dU else None, full[:, free].reshape(theta.shape)

    def lower(self, g: Builder, x: str, theta: str) -> str:
        size = self._size((1, 1, g.fixed(x, 2), g.fixed(x, 3)))
        free = [i for i in range(6) if i not in self._stated]
        place = np.zeros((len(free), 6), np.float32)
        place[range(len(free)), free] = 1
        stated = np.array([self._stated.get(i, 0) for i in range(6)], np.float32)
        full = g.rows(theta)
        if self._stated:
            full = g.Add(g.MatMul(full, place), stated)
        grid = self._grid((1, 1, g.fixed(x, 2), g.fixed(x, 3)))
        half = np.array([[g.fixed(x, 2)], [g.fixed(x, 3)]], np.float32) / 2
        at = g.MatMul(g.Reshape(full, int64(-1, 2, 3)), grid)
        at = g.Reshape(g.Mul(g.Add(at, np.float32(1)), half), int64(-1, 2, *size))
        parts = g.Split(at, int64(1, 1), axis=1, outputs=2)
        rows, columns = (g.Squeeze(part, int64(1)) for part in parts)
        return lower_sample(g, x, rows, columns, zeros=True)
