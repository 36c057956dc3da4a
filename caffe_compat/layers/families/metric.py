"""Losses of distances between two or three images (Hadsell et al. 2006; Schroff et al. 2015)."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from .. import labels
from ..builder import BOOL, FLOAT, INT32, INT64, Builder, int64
from ..layer import Layer
from ..registry import layer
from .regression import lower_distance

Index = NDArray[np.int64]


@layer(param="contrastive_loss_param", bottoms=3, loss=True)
class ContrastiveLoss(Layer):
    """sum (y d^2 + (1 - y) max(margin - d, 0)^2) / (2 N) (contrastive_loss_layer.cpp).

    d = |a - b| (Hadsell et al. 2006, eq. 4). With legacy_version the second square is
    max(margin - d^2, 0).
    """

    approximate = True  # see backward

    def shapes(self, a: Shape, b: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, b)
        labels.check_legacy(a, b, y)
        channels = [prod(shape[1:2]) for shape in (a, b)]
        if channels[0] != channels[1] or any(n != 1 for n in (*a[2:], *b[2:])):
            raise ShapeError(f"compares vectors of equal length; its bottoms are {a} and {b}")
        if not y or y[0] < a[0] or any(n != 1 for n in y[1:]):
            raise ShapeError(f"takes one label for each of {a[0]} pairs, and has labels {y}")
        return [()]

    def allows_force_backward(self, bottom: int) -> bool:
        return bottom != 2

    def forward(self, a: Array, b: Array, y: Array) -> Array:
        _, squares, similar = self._pairs(a, b, y)
        losses = np.where(similar, squares, self._apart(squares))
        return np.asarray(losses.sum() / len(a) / 2, np.float32)

    def _apart(self, squares: Array) -> Array:
        margin, zero = np.float32(self.p.margin), np.float32(0)
        if self.p.legacy_version:
            return np.asarray(np.maximum(margin - squares, zero))
        return np.asarray(np.square(np.maximum(margin - np.sqrt(squares), zero)))

    def backward(self, dy: Array, a: Array, b: Array, y: Array) -> tuple[Array, Array, None]:
        d, squares, similar = self._pairs(a, b, y)
        margin, distance = np.float32(self.p.margin), np.sqrt(squares)
        if self.p.legacy_version:
            slope = np.where(margin - squares > 0, np.float32(-1), np.float32(0))
        else:
            # 1e-4 keeps Caffe from dividing by 0 where a pair coincides.
            slope = -np.maximum(margin - distance, 0) / (distance + np.float32(1e-4))
        da = d * np.where(similar, np.float32(1), slope)[:, None] * np.float32(dy / len(a))
        return da.reshape(a.shape), -da.reshape(b.shape), None

    def _pairs(self, a: Array, b: Array, y: Array) -> tuple[Array, Array, labels.Mask]:
        d = a.reshape(len(a), -1) - b.reshape(len(b), -1)
        return d, np.sum(d * d, axis=1), y.reshape(-1)[: len(a)].astype(np.int32) != 0

    def lower(self, g: Builder, a: str, b: str, y: str) -> str:
        squares = lower_distance(g, a, b)
        pairs = labels.first(g, y, a)
        if g.dims(y)[0] != g.dims(a)[0]:
            pairs = g.Slice(pairs, int64(0), int64(g.fixed(a, 0)))
        similar = g.Cast(g.Cast(pairs, to=INT32), to=BOOL)
        margin = np.float32(self.p.margin)
        if self.p.legacy_version:
            apart = g.Relu(g.Sub(margin, squares))
        else:
            apart = g.Relu(g.Sub(margin, g.Sqrt(squares)))
            apart = g.Mul(apart, apart)
        losses = g.Where(similar, squares, apart)
        return g.Mul(g.ReduceMean(losses, keepdims=0), np.float32(0.5))


@layer(param="sample_triplet_param", bottoms=2)
class SampleTriplet(Layer):
    """The indices (anchor, positive, negative) of triplets of a batch, (M, 3, 1, 1).

    The second bottom is the number of images of each class, which lie one class after the other.
    Each pair of a class is a triplet with one of the images of other classes whose squared distance
    is less than alpha above the pair's, drawn at random; a pair without such an image is left out.

    From: yuqj1991/caffe_train, src/caffe/layers/sample_triplet_layer.cpp, which
        writes past its top's end where there are more triplets than classes
    """

    varies = (0,)
    blocked = (0, 1)
    prepares = True

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        return [(prod(y), 3, 1, 1)]

    def draw(self, rng: Rng, x: Shape, y: Shape) -> dict[str, Array]:
        words = rng.u32(x[0] * (x[0] - 1) // 2)  # one for each triplet that there can be
        halves = np.stack([words >> 16, words & 0xFFFF], axis=1)
        return {"words": halves.astype(np.float32)}  # which has room for 24 bits

    def forward(self, x: Array, y: Array, words: Array | None = None) -> Array:
        if words is None:
            raise UnsupportedError("draws triplets at random, in a solver's passes alone")
        sizes = y.ravel().astype(np.int64)
        if sizes.min() < 0 or sizes.sum() > len(x):
            raise ShapeError(f"classes of {sizes.tolist()} images do not fit a batch of {len(x)}")
        high, low = words.astype(np.int64).T
        numbers, triplets = (high << 16) + low, list[tuple[int, int, int]]()
        flat = x.reshape(len(x), -1)
        for start, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
            others = np.r_[0:start, start + size : len(x)]
            for anchor in range(start, start + size - 1):
                distances = np.square(flat[anchor] - flat).sum(axis=1)
                for positive in range(anchor + 1, start + size):
                    near = others[distances[others] - distances[positive] < self.p.alpha]
                    if len(near):
                        negative = near[numbers[len(triplets)] % len(near)]
                        triplets.append((anchor, positive, negative))
        return np.array(triplets, np.float32).reshape(-1, 3, 1, 1)

    def backward(self, dy: Array, x: Array, y: Array, words: Array) -> tuple[None, None]:
        return None, None


@layer(param="triplet_loss_param", bottoms=(2, 5), loss=True)
class TripletLoss(Layer):
    """sum max(|a - p|^2 - |a - n|^2 + margin, 0) / M, or half of that for three bottoms a, p, n.

    Two bottoms are features, and M triplets of indices; an image's gradient is then that of the
    last triplet that it is in, be its loss 0 or not, with 2 (a - p) for the negative, as in the
    fork.

    From: yuqj1991/caffe_train, src/caffe/layers/triplet_loss_layer.cpp: two
    From: liuyuisanai/CaffeMex_v2, src/caffe/layers/triplet_loss_layer.cpp: three
    Refused: four or five bottoms, MyCaffe's, with alpha in place of margin; three without a margin.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if len(proto.bottom) > 3:
            raise UnsupportedError(
                f"of {len(proto.bottom)} bottoms is MyCaffe's; two and three bottoms are supported"
            )
        if len(proto.bottom) == 3 and not self.p.HasField("margin"):
            raise UnsupportedError(
                "of three bottoms has another default margin in each fork; give triplet_loss_param "
                "{ margin: ... }"
            )

    @property
    def blocked(self) -> tuple[int, ...]:
        return (1,) if len(self.proto.bottom) == 2 else ()

    @property
    def approximate(self) -> bool:
        return len(self.proto.bottom) == 2

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if len(x) == 3:
            if any(len(each) < 2 or prod(each[2:]) != 1 or each[:2] != x[0][:2] for each in x):
                raise ShapeError(f"needs three bottoms (N, features), and has {x}")
            return [()]
        if not x[1] or prod(x[1][1:]) != 3:
            raise ShapeError(f"needs triplets of indices (M, 3, 1, 1), and has {x[1]}")
        return [(1,)]

    def _triplets(self, *x: Array) -> tuple[Index | None, list[Array]]:
        """Return the indices of two bottoms, (M, 3), and the three features, each (M, length)."""
        if len(x) == 3:
            return None, [each.reshape(len(each), -1) for each in x]
        index = x[1].reshape(-1, 3).astype(np.int64)
        wrong = index[(index < 0) | (index >= len(x[0]))]
        if wrong.size:
            raise ShapeError(f"index {wrong[0]} is outside the batch of {len(x[0])}")
        return index, [x[0].reshape(len(x[0]), -1)[column] for column in index.T]

    def _losses(self, a: Array, p: Array, n: Array) -> Array:
        distances = np.square(a - p).sum(axis=1) - np.square(a - n).sum(axis=1)
        losses: Array = np.maximum(distances + np.float32(self.p.margin), 0)
        return losses

    def forward(self, *x: Array) -> Array:
        index, parts = self._triplets(*x)
        loss = self._losses(*parts).sum() / np.float32(max(1, len(parts[0])))
        return np.asarray(loss / 2 if index is None else [loss], np.float32)

    def backward(self, dy: Array, *x: Array) -> tuple[Array | None, ...]:
        index, (a, p, n) = self._triplets(*x)
        scale = np.float32(dy.item() / max(1, len(a)))
        if index is None:
            factor = scale * (self._losses(a, p, n) >= 1e-9)[:, None]
            flows = ((n - p) * factor, (p - a) * factor, (a - n) * factor)
            return tuple(flow.reshape(each.shape) for flow, each in zip(flows, x, strict=True))
        dx = np.zeros((len(x[0]), a.shape[1]), np.float32)
        dx[index] = 2 * scale * np.stack([n - p, p - a, a - p], axis=1)  # the last one stays
        return dx.reshape(x[0].shape), None

    def lower(self, g: Builder, *x: str) -> str:
        a, *others = (g.rows(each) for each in x)
        if len(x) == 2:
            index = g.Cast(g.Reshape(x[1], int64(-1, 3)), to=INT64)
            a, *others = (g.Gather(a, g.Gather(index, np.int64(i), axis=1)) for i in range(3))
        near, far = (g.ReduceSumSquare(g.Sub(a, each), int64(1), keepdims=0) for each in others)
        losses = g.Relu(g.Add(g.Sub(near, far), np.float32(self.p.margin)))
        if len(x) == 3:
            return g.Mul(g.ReduceMean(losses, keepdims=0), np.float32(0.5))
        count = g.Cast(g.Shape(x[1], start=0, end=1), to=FLOAT)
        return g.Div(g.ReduceSum(losses, int64(0), keepdims=1), g.Max(count, np.float32(1)))
