"""What FlowNet's nets do to their images before the first convolution."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import TRAIN, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, Operand, int64
from ..layer import Blob, Layer
from ..registry import layer


@layer(param="augmentation_param")
class DataAugmentation(Layer):
    """Images cut to crop_height by crop_width around their middle, minus a mean, in TEST.

    The last row and column of an uncut side are a mean of 1/20 of the one before, as in the
    fork. With recompute_mean the mean is that of the images seen so far, which the blobs keep,
    until so many passes; its blob may be of another size than the images, and then its channels'
    means count.

    From: lmb-freiburg/flownet2, src/caffe/layers/data_augmentation_layer.cu (by reading alone)
    Refused: TRAIN, which draws random changes, and coefficients as a second bottom or top.
    """

    statistics = ("count", "mean", "channel_mean")

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if proto.phase == TRAIN:
            raise UnsupportedError("changes images at random in TRAIN; give them as an input")

    def blobs(self, x: Shape) -> list[Blob]:
        count = Blob("count", (1, 1, 1, 1), learned=False)
        if not self.p.recompute_mean:
            return [count]
        size = (1, x[1], *self._size(x))
        if len(self.stored_shapes) == 3:
            size = self.stored_shapes[1]
        mean = Blob("mean", size, learned=False)
        return [count, mean, Blob("channel_mean", (1, x[1], 1, 1), learned=False)]

    @property
    def _crops(self) -> bool:
        return bool(self.p.HasField("crop_width") and self.p.HasField("crop_height"))

    def _size(self, x: Shape) -> Shape:
        return (self.p.crop_height, self.p.crop_width) if self._crops else x[2:]

    def shapes(self, x: Shape) -> list[Shape | None]:
        size = self._size(x)
        if len(x) != 4 or not all(0 < n <= m for n, m in zip(size, x[2:], strict=True)):
            raise ShapeError(f"cannot cut {size} from {x}")
        return [(*x[:2], *size)]

    def _matrix(self, old: int, size: int) -> Array:
        """Return the shares of the bottom's pixels in the top's along an axis, (top, bottom)."""
        at = np.arange(size, dtype=np.float32) - np.float32(size / 2) + np.float32(old / 2)
        at = np.clip(at, 0, np.float32(old - 1.05))
        low = np.floor(at).astype(np.int64)
        matrix, row = np.zeros((size, old), np.float32), np.arange(size)
        matrix[row, low], matrix[row, np.minimum(low + 1, old - 1)] = 1 - (at - low), at - low
        return matrix

    def _cut(self, x: Array) -> Array:
        if not self._crops:
            return x
        down, across = map(self._matrix, x.shape[2:], self._size(x.shape))
        y: Array = down @ (x @ across.T)
        return y

    def _stated_mean(self) -> Array | None:
        """Return the mean that the prototxt gives, (1, 3, 1, 1)."""
        if len(self.p.mean) != 3 or self.p.mean_per_pixel:
            return None
        return np.array(self.p.mean, np.float32).reshape(1, 3, 1, 1)

    def update(self, x: Array, count: Array, **means: Array) -> dict[str, Array]:
        count = np.floor(count) + 1
        if not self.p.recompute_mean or count.item() > self.p.recompute_mean:
            return {"count": count}
        y, mean = self._cut(x), means["mean"]
        if y.shape[1:] != mean.shape[1:]:
            raise ShapeError(f"the mean so far is of {mean.shape[1:]}, the images of {y.shape[1:]}")
        mean = mean * ((count - 1) / count) + y.mean(0, keepdims=True) / count
        return {"count": count, "mean": mean, "channel_mean": mean.mean((2, 3), keepdims=True)}

    def forward(self, x: Array, count: Array, **means: Array) -> Array:
        y, mean = self._cut(x), self._stated_mean()
        if self.p.recompute_mean:
            means.update(self.update(x, count, **means))
            mean = means["channel_mean"]
            if self.p.mean_per_pixel:
                same = means["mean"].shape[1:] == y.shape[1:]
                mean = means["mean"] if same else means["mean"].mean((2, 3), keepdims=True)
        return y if mean is None else y - mean

    def lower(self, g: Builder, x: str, count: str, **means: str) -> str:
        y, size = x, self._size((1, 1, g.dims(x)[2] or 0, g.dims(x)[3] or 0))
        if self._crops:
            old = (g.fixed(x, 2), g.fixed(x, 3))
            down, across = map(self._matrix, old, size)
            y = g.MatMul(down, g.MatMul(x, np.ascontiguousarray(across.T)))
        mean: Operand = self._stated_mean()
        if self.p.recompute_mean:
            mean = self._lower_mean(g, y, size, count, **means)
        return y if mean is None else g.Sub(y, mean)

    def _lower_mean(
        self, g: Builder, y: str, size: Shape, count: str, mean: str, channel_mean: str
    ) -> str:
        same = g.params[mean].shape[2:] == size
        per_pixel = self.p.mean_per_pixel
        if per_pixel and not same:
            mean = g.ReduceMean(mean, int64(2, 3), keepdims=1)
        if not (g.keeps_params or g.data(count).item() + 1 <= self.p.recompute_mean):
            return mean if per_pixel else channel_mean
        if not same:
            raise UnsupportedError("its mean is not final, and of another size than the images")
        passes = g.Add(g.Floor(count), np.float32(1))
        share = g.Div(np.float32(1), passes)
        now = g.ReduceMean(y, int64(0), keepdims=1)
        now = g.Add(g.Mul(mean, g.Sub(np.float32(1), share)), g.Mul(now, share))
        now = now if per_pixel else g.ReduceMean(now, int64(2, 3), keepdims=1)
        final = g.Greater(passes, np.float32(self.p.recompute_mean))
        return g.Where(final, mean if per_pixel else channel_mean, now)
