"""PriorBox: SSD's default boxes, which its predictions are relative to."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...memory import require
from ...types import Array, Dims, Shape, Size
from ..boxes import lower_range
from ..builder import DOUBLE, FLOAT, Builder, int64
from ..layer import Layer
from ..registry import layer

Double: TypeAlias = NDArray[np.float64]
_PIECE = 1 << 20  # coordinates computed at once, in double


@layer(param="prior_box_param", bottoms=(1, 2))
class PriorBox(Layer):
    """Boxes around every cell of the first bottom's map (Liu et al. 2016).

    From: weiliu89/caffe, branch ssd, prior_box_layer.cpp

    From: MhLiao/TextBoxes_plusplus, src/caffe/layers/prior_box_layer.cpp (denser_prior_boxes)
    From: opencv/opencv, modules/dnn/src/layers/prior_box_layer.cpp (offset_h, offset_w)

    Row 0 has the corners as fractions of the image, row 1 a variance for each. Sizes are cut to
    whole pixels, as in Caffe. In ONNX they are a constant, unless height or width vary. With
    `denser_prior_boxes` there is each box twice, the second at (h + 1) step. With `offset_h` the
    layer is OpenCV's: each box at each offset, sizes as they are, and clip by default.

    Refused: more than two offset_h, where OpenCV leaves some boxes unwritten; fields of two forks.
    """

    _order: tuple[int, ...] = (0, 1, 2, 3)  # of the corners' numbers

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._place(_offsets(self.p), early=bool(self.p.offset_h))
        self._variance = _variance(self.p)
        self._image = _extent(self.p, "img", "img_size")
        self._step = _extent(self.p, "step", "step")

    def _place(self, offsets: list[tuple[float, float]], *, early: bool) -> None:
        """Put every box at each offset from its cell's corner.

        Args:
            offsets: down and right, in cells.
            early: whether sizes are not cut and clip is the default, as at first in SSD.
        """
        boxes = _boxes(self.p, np.float32 if early else int)
        self._boxes = np.repeat(boxes, len(offsets), axis=0)
        self._offsets = np.array(offsets, np.float32)
        if len(offsets) > 1:
            self._offsets = np.tile(self._offsets, (len(boxes), 1))
        self._clip = self.p.clip if self.p.HasField("clip") else early

    def _shifts(self) -> Double:
        """Return what is added to each box's corners, as fractions of the image."""
        return np.zeros((len(self._boxes), 4))

    def shapes(self, *x: Shape) -> list[Shape | None]:
        (height, width), _ = self._sizes(*x)
        if height * width < 1:
            raise ShapeError(f"needs a map of one cell or more, and has {x[0]}")
        return [(1, 2, height * width * len(self._boxes) * 4)]

    def _sizes(self, *x: Shape) -> tuple[Size, Size]:
        """Return height and width of the map, and of the image."""
        if self._image is None and len(x) < 2:
            raise ShapeError("needs the image as a second bottom, or img_size")
        return _plane(x[0]), self._image or _plane(x[1])

    def forward(self, *x: Array) -> Array:
        return self._priors(*self._sizes(*(a.shape for a in x)))

    def _priors(self, cells: Size, image: Size) -> Array:
        steps = self._step or np.divide(image, cells, dtype=np.float32)
        ys, xs = (
            (np.arange(n, dtype=np.float32)[:, None] + offset) * np.float32(step)
            for n, offset, step in zip(cells, self._offsets.T, steps, strict=True)
        )
        shape = (*cells, len(self._boxes), 4)
        require(8 * math.prod(shape), "the priors")
        priors = np.empty((1, 2, *shape), np.float32)
        priors[0, 1] = self._variance
        rows = max(1, _PIECE // math.prod(shape[1:]))
        for row in range(0, cells[0], rows):
            boxes = np.empty((min(rows, cells[0] - row), *shape[1:]), np.float64)
            boxes[..., 0::2] = xs[None, :, :, None]
            boxes[..., 1::2] = ys[row : row + rows, None, :, None]
            boxes += _halves(self._boxes)
            boxes /= np.array([*image[::-1], *image[::-1]])
            boxes += self._shifts()
            priors[0, 0, row : row + rows] = boxes[..., list(self._order)]
        if self._clip:
            np.clip(priors[0, 0], 0, 1, out=priors[0, 0])
        return priors.reshape(1, 2, -1)

    def lower(self, g: Builder, *x: str) -> str:
        dims = [g.dims(name) for name in x]
        known = [self._image or _fixed_plane(d) for d in dims]
        cells, image = _fixed_plane(dims[0]), known[-1]
        if cells and image:
            return g.constant(self._priors(cells, image))
        size = _lower_plane(g, x[0])
        picture = g.constant(self._image, np.int64) if self._image else _lower_plane(g, x[-1])
        step = (
            g.constant(self._step, np.float32)
            if self._step
            else g.Div(*(g.Cast(extent, to=FLOAT) for extent in (picture, size)))
        )
        boxes = g.Add(self._centres(g, size, step), _halves(self._boxes))
        picture = g.Gather(g.Cast(picture, to=DOUBLE), int64(1, 0, 1, 0))
        boxes = g.Div(boxes, picture)
        if self._shifts().any():
            boxes = g.Add(boxes, self._shifts())
        boxes = g.Cast(boxes, to=FLOAT)
        if self._order != (0, 1, 2, 3):
            boxes = g.Gather(boxes, int64(*self._order), axis=-1)
        if self._clip:
            boxes = g.Clip(boxes, np.float32(0), np.float32(1))
        row = int64(1, 1, -1)
        variances = g.Reshape(g.Expand(self._variance, g.Shape(boxes)), row)
        return g.Concat(g.Reshape(boxes, row), variances, axis=1)

    def _centres(self, g: Builder, size: str, step: str) -> str:
        """Write the boxes' centres twice over, double, (height, width, offsets, 4)."""
        axes = []
        for i, shape in enumerate(((-1, 1, 1, 1), (1, -1, 1, 1))):
            place = int64(i)
            cells = lower_range(g, g.Gather(size, place))
            cells = g.Reshape(g.Cast(cells, to=FLOAT), int64(*shape))
            centres = g.Mul(g.Add(cells, self._offsets[:, i, None]), g.Gather(step, place))
            turns = np.array([0, 1, 0, 1] if i == 0 else [1, 0, 1, 0], np.float32)
            axes.append(g.Mul(centres, turns))
        return g.Cast(g.Add(*axes), to=DOUBLE)


@layer(param="prior_box_param", bottoms=(1, 2))
class PriorBoxClustered(PriorBox):
    """Boxes of each `width` and `height` around every cell of the first bottom's map.

    From: openvinotoolkit/training_toolbox_caffe, src/caffe/layers/prior_box_clustered_layer.cpp
    """

    def _place(self, offsets: list[tuple[float, float]], *, early: bool) -> None:
        width, height = list(self.p.width), list(self.p.height)
        if not width or len(width) != len(height) or min(width + height) <= 0:
            raise ShapeError(
                f"needs positive widths and as many heights, and has {len(width)} and {len(height)}"
            )
        self._boxes = np.array([width, height], np.float32).T
        self._offsets = np.array([[self.p.offset] * 2], np.float32)
        self._clip = self.p.clip


def _offsets(p: Any) -> list[tuple[float, float]]:
    """Return the boxes' offsets from their cell's corner, down and right, in cells."""
    if not (p.offset_h or p.offset_w):
        below = [(1.0, p.offset)] if p.denser_prior_boxes else []
        return [(p.offset, p.offset), *below]
    if p.HasField("offset"):
        raise ShapeError("gives both offset and offset_h or offset_w; one of them")
    if len(p.offset_h) != len(p.offset_w):
        raise ShapeError(
            f"gives {len(p.offset_h)} offset_h and {len(p.offset_w)} offset_w; as many of each"
        )
    if len(p.offset_h) > 2:
        raise UnsupportedError(
            f"gives {len(p.offset_h)} offset_h; beyond 2, OpenCV, whose field "
            "it is, counts more boxes than it writes"
        )
    for name in ("denser_prior_boxes", "img_size", "img_h", "img_w"):
        if p.HasField(name):
            raise UnsupportedError(
                f"gives {name} beside offset_h, which is OpenCV's, and OpenCV does not read {name}"
            )
    return list(zip(p.offset_h, p.offset_w, strict=True))


def _boxes(p: Any, cut: type[np.float32 | int]) -> Array:
    """Return width and height in pixels of every cell's boxes; `cut` converts the sizes."""
    ratios = _ratios(p)
    if not p.min_size:
        raise ShapeError("must provide min_size")
    if p.max_size and len(p.max_size) != len(p.min_size):
        raise ShapeError(
            f"gives {len(p.min_size)} min_size and {len(p.max_size)} max_size; one "
            "max_size each, or none"
        )
    for size in (*p.min_size, *p.max_size):
        if size >= 2**31:  # Caffe makes it an int
            raise ShapeError(f"min_size and max_size must be below 2^31, and one is {size:g}")
    boxes = []
    for i, least in enumerate(p.min_size):
        if least <= 0:
            raise ShapeError(f"min_size must be positive, and is {least:g}")
        side = np.float32(cut(least))
        boxes.append((side, side))
        if p.max_size:
            most = p.max_size[i]
            if most <= least:
                raise ShapeError(f"max_size {most:g} must be greater than min_size {least:g}")
            boxes.append((np.float32(np.sqrt(cut(least) * cut(most))),) * 2)
        boxes += [(side * root, side / root) for root in map(np.sqrt, ratios)]
    return np.array(boxes, np.float32)


def _ratios(p: Any) -> list[np.float32]:
    """Return the aspect ratios beside 1, each once."""
    ratios = [np.float32(1)]
    for value in map(np.float32, p.aspect_ratio):
        if value <= 0:
            raise ShapeError(f"aspect_ratio must be positive, and is {value:g}")
        if not any(abs(value - ratio) < 1e-6 for ratio in ratios):
            ratios += [value, np.float32(1 / float(value))] if p.flip else [value]
    return ratios[1:]


def _halves(boxes: Array) -> Double:
    """Return the offsets of the corners from the centre, in double as Caffe adds them."""
    return np.concatenate([-boxes, boxes], axis=1).astype(np.float64) / 2


def _variance(p: Any) -> Array:
    value = list(p.variance) or [0.1]
    if len(value) not in (1, 4):
        raise ShapeError(f"variance is given {len(value)} times; once or 4 times")
    if min(value) <= 0:
        raise ShapeError(f"variance must be positive, and is {min(value):g}")
    return np.array(value * 4 if len(value) == 1 else value, np.float32)


def _extent(p: Any, name: str, both: str) -> Any:
    """Return height and width by NAME_h and NAME_w or by one field, None without them."""
    if p.HasField(f"{name}_h") or p.HasField(f"{name}_w"):
        if p.HasField(both):
            raise ShapeError(f"gives both {both} and {name}_h or {name}_w; one of them")
        extent = getattr(p, f"{name}_h"), getattr(p, f"{name}_w")
    elif p.HasField(both):
        extent = (getattr(p, both),) * 2
    else:
        return None
    if min(extent) <= 0:
        raise ShapeError(f"{both} must be positive in height and width, and is {extent}")
    return extent


def _plane(shape: Shape) -> Size:
    """Return Caffe's height() and width(): axes 2 and 3 of at most 4, 1 where there is none."""
    if len(shape) > 4:
        raise ShapeError(f"takes blobs of 4 axes at most, and has {shape}")
    height, width = (*shape, 1, 1, 1, 1)[2:4]
    return height, width


def _fixed_plane(dims: Dims) -> Size | None:
    height, width = (*dims, 1, 1, 1, 1)[2:4]
    return None if height is None or width is None else (height, width)


def _lower_plane(g: Builder, x: str) -> str:
    """Write height and width of a blob in the run, int64."""
    fixed = _fixed_plane(g.dims(x))
    if fixed:
        return g.constant(int64(*fixed))
    if len(g.dims(x)) != 4:
        raise UnsupportedError(f"needs 4 axes where they vary, and has {g.dims(x)}")
    return g.Shape(x, start=2)
