"""Vectors scaled to unit length."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer, python_layer

_NAMES = ("L2Norm", "L2Normalize", "L2Normalization", "Normalization")


@np.errstate(divide="ignore", invalid="ignore")
def _divide(x: Array, by: Array) -> Array:
    """Divide; a vector of length 0 becomes NaN, as in Caffe and ONNX."""
    y: Array = x / by
    return y


@layer(*_NAMES[1:], param="l2norm_param")
class L2Norm(Layer):
    """x / |x|, each image one vector; with l2norm_param, x / (|x| + eps).

    Forks disagree on an image of several positions: it is one vector in caffe-sl, one at each
    position in caffe-dev.

    From: wanji/caffe-sl, src/caffe/layers/lp_norm_layer.cpp (L2Norm)
    From: Liusifei/Face_Parsing_2016, src/caffe/layers/l2norm_layer.cpp (L2Norm with eps)
    From: kovibalu/caffe-cnntools, src/caffe/layers/l2_normalize_layer.cpp (L2Normalize)
    From: Gomdoree/caffe-triplet, src/caffe/layers/normalization_layer.cpp (Normalization)
    Refused: more than one position, and no fork named.
    Refused: l2_length, except by caffe-dev.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._after = np.float32(self.p.eps if proto.HasField("l2norm_param") else 0)
        if self.p.HasField("l2_length") and self.fork != "caffe-dev":
            raise UnsupportedError(
                'l2_length is caffe-dev-160608\'s; name the fork (fork="caffe-dev")',
                remedies=("fork",),
            )

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        if self.fork is None and prod(x[2:]) != 1:
            raise UnsupportedError(
                f"forks disagree on a bottom of {prod(x[2:])} positions {x}: one vector for each "
                'image (fork="caffe-sl"), or one at each position (fork="caffe-dev")',
                remedies=("fork",),
            )
        return [x]

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(1, rank))

    def _length(self, x: Array) -> Array:
        squared: Array = np.sum(x * x, axis=self._axes(x.ndim), keepdims=True)
        return np.sqrt(squared)

    def forward(self, x: Array) -> Array:
        return _divide(x, self._length(x) + self._after)

    def backward(self, dy: Array, x: Array) -> Array:
        length = self._length(x)
        by = length + self._after
        along: Array = np.sum(dy * x, axis=self._axes(x.ndim), keepdims=True)
        return _divide(dy, by) - x * _divide(along, by * by * length)

    def lower(self, g: Builder, x: str) -> str:
        axes = int64(*self._axes(len(g.dims(x))))
        length = g.ReduceL2(x, axes)
        return g.Div(x, g.Add(length, self._after) if self._after else length)


@layer(*_NAMES, param="l2norm_param", fork="caffe-sl")
class WholeL2Norm(L2Norm):
    """x / |x|, each image one vector over all its positions.

    From: wanji/caffe-sl, src/caffe/layers/lp_norm_layer.cpp (by reading alone)
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False


@layer(*_NAMES, param="l2norm_param", fork="caffe-dev")
class PositionL2Norm(L2Norm):
    """x sqrt(l2_length) / |x|, the channels of each position a vector; 0 where all of x is 0.

    The length is constant in the gradient, as in the fork.

    From: Akrit2013/caffe-dev-160608, src/caffe/layers/l2norm_layer.cpp (by reading alone)
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.HasField("eps"):
            raise UnsupportedError("l2norm_param has eps, which caffe-dev-160608 does not know")
        if not self.p.l2_length > 0:
            raise ShapeError(f"l2_length must be positive, and is {self.p.l2_length:g}")
        self._rate = np.float32(1 / self.p.l2_length)

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False

    def shapes(self, x: Shape) -> list[Shape | None]:
        if not 2 <= len(x) <= 4 or x[1] < 2:
            raise ShapeError(f"needs 2 to 4 axes and 2 channels or more, and has {x}")
        return [x]

    def _length(self, x: Array) -> Array:
        squared: Array = np.sum(x * x * self._rate, axis=1, keepdims=True)
        return np.sqrt(np.where(squared == 0, np.float32(1), squared))

    def forward(self, x: Array) -> Array:
        return x / self._length(x)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy / self._length(x)

    def lower(self, g: Builder, x: str) -> str:
        squared = g.ReduceSumSquare(x, int64(1))
        squared = squared if self._rate == 1 else g.Mul(squared, self._rate)
        none = g.Equal(squared, np.float32(0))
        return g.Div(x, g.Sqrt(g.Where(none, np.float32(1), squared)))


@layer(param="grn_param")
class GRN(Layer):
    """x / sqrt(|x|^2 + bias), the channels of each position a vector.

    With dummy_backward the gradient is that of the top.

    From: openvinotoolkit/training_toolbox_caffe, caffe/src/caffe/layers/grn_layer.cpp
    From: luyongxi/caffe-fast-rcnn, src/caffe/layers/grn_layer.cpp (without bias)
    """

    @property
    def approximate(self) -> bool:
        return bool(self.p.dummy_backward)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.bias < 0:
            raise ShapeError(f"bias must be 0 or more, and is {self.p.bias:g}")

    def shapes(self, x: Shape) -> list[Shape | None]:
        if not 2 <= len(x) <= 4:
            raise ShapeError(f"needs a bottom of 2 to 4 axes, and has {x}")
        return [x]

    def _length(self, x: Array) -> Array:
        squared: Array = np.sum(x * x, axis=1, keepdims=True) + np.float32(self.p.bias)
        return np.sqrt(squared)

    def forward(self, x: Array) -> Array:
        return _divide(x, self._length(x))

    def backward(self, dy: Array, x: Array) -> Array:
        if self.p.dummy_backward:
            return dy
        length = self._length(x)
        along: Array = np.sum(dy * x, axis=1, keepdims=True)
        return _divide(dy, length) - x * _divide(along, length**3)

    def lower(self, g: Builder, x: str) -> str:
        squared = g.ReduceSumSquare(x, int64(1))
        return g.Div(x, g.Sqrt(g.Add(squared, np.float32(self.p.bias))))


@python_layer("l2norm_layer", "L2NormLayer", fork="image-classifier")
class L2NormLayer(L2Norm):
    """x / |x|, each row one vector; rows of 0 stay 0.

    From: jtn-ms/image-classifier, its l2norm_layer.py, which calls scikit-learn's normalize (by
        reading alone)
    """

    def __init__(self, proto: LayerParameter) -> None:
        Layer.__init__(self, proto)
        self._after = np.float32(0)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 2:
            raise ShapeError(f"needs a bottom of 2 axes, and has {x}")
        return [x]

    def _length(self, x: Array) -> Array:
        length = super()._length(x)
        return np.where(length == 0, np.float32(1), length)

    def lower(self, g: Builder, x: str) -> str:
        length = g.ReduceL2(x, int64(1))
        return g.Div(x, g.Where(g.Equal(length, np.float32(0)), np.float32(1), length))


@python_layer("norm2layer", "Norm2Layer", fork="tripletloss")
class Norm2Layer(L2NormLayer):
    """x / |x|, each image one vector, as (images, channels); no gradient passes, as in the fork.

    From: ElaineBao/triplet-loss and JoeFannie/tripletloss, norm2layer.py (by reading alone)
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) < 2 or prod(x[2:]) != 1:
            raise ShapeError(f"needs one position an image, and has {x}")
        return [x[:2]]

    def forward(self, x: Array) -> Array:
        return super().forward(x.reshape(x.shape[:2]))

    def backward(self, dy: Array, x: Array) -> Array:
        return np.zeros_like(x)

    approximate = True

    def lower(self, g: Builder, x: str) -> str:
        return super().lower(g, g.rows(x))


@layer()
class SimpleNormalize(L2Norm):
    """x / |x|, each image one vector over all its positions; the top has 4 axes.

    From: yuqj1991/caffe_train, src/caffe/layers/simplenormalize_layer.cpp
    """

    def __init__(self, proto: LayerParameter) -> None:
        Layer.__init__(self, proto)
        self._after = np.float32(0)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if not 2 <= len(x) <= 4:
            raise ShapeError(f"needs 2 to 4 axes, and has {x}")
        return [(*x, 1, 1)[:4]]

    def forward(self, x: Array) -> Array:
        return super().forward(x).reshape(*x.shape, *(1,) * (4 - x.ndim))

    def backward(self, dy: Array, x: Array) -> Array:
        return super().backward(dy.reshape(x.shape), x)

    def lower(self, g: Builder, x: str) -> str:
        y = super().lower(g, x)
        return g.Unsqueeze(y, int64(*range(len(g.dims(x)), 4))) if len(g.dims(x)) < 4 else y


@layer("Normalization", param="normalization_param", fork="caffemex", fields=("norm",))
class BatchShares(Layer):
    """x / sum |x| over the batch, one number an image, with norm: L1 of this fork.

    The gradient is that of positive numbers, as in the fork.

    From: liuyuisanai/CaffeMex_v2, src/caffe/layers/normalization_layer.cpp, with which
        sciencefans/Quality-Aware-Network was trained
    """

    approximate = True

    def shapes(self, x: Shape) -> list[Shape | None]:
        if not x or prod(x[1:]) != 1:
            raise ShapeError(f"norm: L1 needs one number an image, and has {x}")
        return [x]

    def forward(self, x: Array) -> Array:
        return _divide(x, np.abs(x).sum())

    def backward(self, dy: Array, x: Array) -> Array:
        along = np.sum(dy * self.forward(x))
        return _divide(dy - along, np.abs(x).sum())

    def lower(self, g: Builder, x: str) -> str:
        return g.Div(x, g.ReduceSum(g.Abs(x), keepdims=0))
