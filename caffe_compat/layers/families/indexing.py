"""Parts of a blob: a window of it, or some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..axes import canonical_axis
from ..builder import BOOL, INT64, Builder, int64
from ..layer import Arrays, Layer
from ..registry import layer


@layer(param="crop_param", bottoms=2)
class Crop(Layer):
    """The first bottom from `offset` on, in the second's sizes from `axis` on (crop_layer.cpp).

    Without an offset BVLC's is 0; FCN's and HED's Caffe aligns the bottoms by the layers between.

    Refused: no offset where these two differ, until the fork (bvlc or fcn) is named.

    Attributes:
        aligned: the offset in height and width that aligns the bottoms; None if none does.
    """

    aligned: tuple[int, int] | None = None
    ambiguous: ClassVar[bool] = True

    def offsets(self, rank: int) -> dict[int, int]:
        """Return the offset at each axis that is cropped."""
        first, offset = canonical_axis(self.p.axis, rank), list(self.p.offset)
        if len(offset) > 1 and len(offset) != rank - first:
            raise ShapeError(f"offset is given {len(offset)} times for {rank - first} axes")
        offset = offset or self._default(first, rank)
        return dict(
            zip(
                range(first, rank),
                offset * (rank - first) if len(offset) == 1 else offset,
                strict=True,
            )
        )

    def _default(self, first: int, rank: int) -> list[int]:
        return [0] * (rank - first)

    def check_forward(self) -> None:
        """Refuse to compute where BVLC's offset and the aligned one differ without a fork."""
        if self.ambiguous and not self.p.offset and any(self.aligned or ()):
            raise UnsupportedError(
                f"has no offset: BVLC's Caffe crops at 0, FCN's and HED's where the bottoms align, "
                f"at {self.aligned}; name the fork (fork='bvlc' or 'fcn'), or write the offset",
                remedies=("fork",),
                changes=[{"fork": "Crop=fcn"}, {"fork": "Crop=bvlc"}],
            )

    def shapes(self, x: Shape, like: Shape) -> list[Shape | None]:
        shape = list(x)
        for axis, offset in self.offsets(len(x)).items():
            size = like[canonical_axis(axis, len(like))]
            if offset + size > x[axis]:
                raise ShapeError(
                    f"offset {offset} and size {size} exceed the {x[axis]} of axis {axis}"
                )
            shape[axis] = size
        return [tuple(shape)]

    def window(self, x: Array, like: Array) -> tuple[slice, ...]:
        offsets = self.offsets(x.ndim)
        return tuple(
            slice(offsets[i], offsets[i] + like.shape[i]) if i in offsets else slice(None)
            for i in range(x.ndim)
        )

    def forward(self, x: Array, like: Array) -> Array:
        self.check_forward()
        return x[self.window(x, like)]

    def backward(self, dy: Array, x: Array, like: Array) -> tuple[Array, None]:
        dx = np.zeros_like(x)
        dx[self.window(x, like)] = dy
        return dx, None

    def lower(self, g: Builder, x: str, like: str) -> str:
        self.check_forward()
        dims, sizes = g.dims(x), g.dims(like)
        offsets = self.offsets(len(dims))
        axes = [i for i in offsets if sizes[i] is None or sizes[i] != dims[i]]
        if not axes:
            return x
        starts = int64(*(offsets[i] for i in axes))
        known = [n for n in (sizes[i] for i in axes) if n is not None]
        if len(known) == len(axes):
            return g.Slice(x, starts, starts + known, int64(*axes))
        # A size that varies from run to run: read the second bottom's, all cropped axes at once.
        axes = list(offsets)
        starts = int64(*(offsets[i] for i in axes))
        ends = g.Shape(like, start=axes[0], end=len(dims))
        return g.Slice(x, starts, g.Add(ends, starts) if starts.any() else ends, int64(*axes))


@layer("Crop", fork="bvlc", param="crop_param", bottoms=2)
class CropBvlc(Crop):
    """The first bottom from `offset` on, 0 where there is none.

    From: BVLC/caffe, crop_layer.cpp
    """

    ambiguous = False

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False


@layer("Crop", fork="fcn", param="crop_param", bottoms=2)
class CropFcn(CropBvlc):
    """The first bottom from `offset` on, by default where the two align.

    From: longjon/caffe, branch future; s9xie/hed, crop_layer.cpp (by reading alone)

    Refused: no offset, and layers between that align at none.
    """

    def _default(self, first: int, rank: int) -> list[int]:
        if self.aligned is None or rank != 4 or first < 2:
            raise ShapeError(
                "has no offset, and no whole one aligns its bottoms in height and width"
            )
        return list(self.aligned)[first - 2 :]


@layer(param="crop_param", bottoms=2)
class AutoCrop(CropFcn):
    """The first bottom where it aligns with the second, in the second's height and width.

    From: yun-liu/RCF's Caffe, auto_crop_layer.cpp: FCN's Crop under another name (by reading alone)

    Refused: layers between that align at no whole offset.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return True


@layer(bottoms=(2, None), tops=(1, None))
class Filter(Layer):
    """The rows of each bottom at which the last, the selector, is not zero (filter_layer.cpp).

    Their number depends on the data; a top may be empty.
    """

    no_backward = (-1,)
    varies = (0,)

    def shapes(self, *x: Shape) -> list[Shape | None]:
        *bottoms, selector = x
        if len(bottoms) != len(self.proto.top):
            raise ShapeError(
                f"has {len(self.proto.top)} tops for {len(bottoms)} bottoms and a "
                "selector; one top for each"
            )
        if not selector or selector[1:] != (1,) * (len(selector) - 1):
            raise ShapeError(f"the selector {selector} must be one value a row, (N) or (N, 1, ...)")
        for shape in bottoms:
            if shape[:1] != selector[:1]:
                raise ShapeError(f"bottom {shape} and selector {selector} differ in axis 0")
        return [*bottoms]

    def forward(self, *x: Array) -> tuple[Array, ...]:
        *bottoms, selector = x
        return tuple(a[selector.ravel() != 0] for a in bottoms)

    def backward(self, dy: Arrays, *x: Array) -> tuple[Array | None, ...]:
        *bottoms, selector = x
        grads = [np.zeros_like(a) for a in bottoms]
        for dx, grad in zip(grads, dy if isinstance(dy, tuple) else (dy,), strict=True):
            dx[selector.ravel() != 0] = grad
        return (*grads, None)

    def lower(self, g: Builder, *x: str) -> tuple[str, ...]:
        *bottoms, selector = x
        rows = selector if len(g.dims(selector)) == 1 else g.Reshape(selector, int64(-1))
        mask = g.Cast(rows, to=BOOL)
        return tuple(g.Compress(a, mask, axis=0) for a in bottoms)


@layer(bottoms=2)
class BatchReindex(Layer):
    """The first bottom's rows by the indices in the second (batch_reindex_layer.cpp).

    A negative index counts from the end in ONNX's Gather, where Caffe aborts.
    """

    no_backward = (1,)

    def shapes(self, x: Shape, rows: Shape) -> list[Shape | None]:
        if len(rows) != 1 or not x:
            raise ShapeError(f"needs rows to choose from and a 1-D index, and has {x} and {rows}")
        return [(rows[0], *x[1:])]

    def classes(self, x: Shape, rows: Shape) -> dict[int, int]:
        return {1: x[0]}

    def forward(self, x: Array, rows: Array) -> Array:
        if not np.all((rows >= 0) & (rows < len(x))):
            raise ShapeError(f"index outside the 0 to {len(x) - 1} of its bottom {x.shape}")
        return x[rows.astype(np.int64)]

    def backward(self, dy: Array, x: Array, rows: Array) -> tuple[Array, None]:
        dx = np.zeros_like(x)
        np.add.at(dx, rows.astype(np.int64), dy)
        return dx, None

    def lower(self, g: Builder, x: str, rows: str) -> str:
        return g.Gather(x, g.Cast(rows, to=INT64), axis=0)
