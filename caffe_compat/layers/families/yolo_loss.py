"""YOLO's losses (Redmon and Farhadi 2017 and 2018).

The ground truth is boxes as shares of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import LayerParameter, Yolov3Parameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..layer import Layer
from ..registry import layer
from .activation import sigmoid
from .softmax import softmax

_ROWS = 300  # of an image in Darknet's form


class _Object(NamedTuple):
    """A box of the ground truth in its cell.

    Attributes:
        label: its class, from 0.
        box: its centre and size.
        column: the cell that its centre is in.
        row: the same.
    """

    label: int
    box: Array
    column: int
    row: int

    @property
    def cell(self) -> Array:
        """The column and the row."""
        return np.array([self.column, self.row], np.float32)


def overlaps(a: Array, b: Array) -> Array:
    """Return the intersection over union of boxes (.., 4) of centre and size."""
    half = np.float32(2)
    ends = np.minimum(a[..., :2] + a[..., 2:] / half, b[..., :2] + b[..., 2:] / half)
    extent = ends - np.maximum(a[..., :2] - a[..., 2:] / half, b[..., :2] - b[..., 2:] / half)
    shared = extent.prod(axis=-1) * np.all(extent >= 0, axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared
    return np.asarray(shared / union, np.float32)


def annotated(y: Array, images: int) -> list[Array]:
    """Return each image's rows of 8, as of MultiBoxLoss, as rows (label, centre, size)."""
    rows = y.reshape(-1, 8)
    rows = rows[rows[:, 0].astype(np.int64) != -1]
    low, high = rows[:, 3:5], rows[:, 5:7]
    boxes = np.hstack([rows[:, 1:2] - 1, (low + high) / np.float32(2), high - low])
    return [boxes[rows[:, 0].astype(np.int64) == image] for image in range(images)]


def _fitting(sizes: Array, box: Array) -> Array:
    """Return how much of a box anchors (A, 2) overlap that have its centre."""
    placed = np.pad(sizes, ((0, 0), (2, 0)))
    return overlaps(placed, np.concatenate([np.zeros(2, np.float32), box[2:]]))


class _Yolo(Layer):
    """The sum of squares of what is the gradient too, as in Darknet.

    The bottoms are a map of 5 + num_class channels an anchor, and the ground truth: of each image
    300 rows (label, centre, size), zeros behind the last.
    """

    evaluates = True
    approximate = True
    blocked = (1,)

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        channels = self.p.num * (5 + self.p.num_class)
        if len(x) != 4 or x[1] != channels:
            raise ShapeError(f"needs a map of {channels} channels, and has {x}")
        return [()]

    def forward(self, x: Array, y: Array) -> Array:
        return np.asarray(self._results(x, y)[0], np.float32)

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, None]:
        slope = self._results(x, y)[1].reshape(x.shape)
        return np.float32(dy / len(x)) * slope, None

    def _results(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return the loss, and the gradient times the number of images."""
        raise NotImplementedError

    def _cells(self, x: Array) -> Array:
        """Return a map as (N, anchors, 5 + classes, height, width)."""
        return x.reshape(len(x), self.p.num, -1, *x.shape[2:])

    def _rows(self, y: Array, images: int) -> list[tuple[Array, Array]]:
        """Return each image's rows: those before the first x of 0, and before a width of 0."""
        if y.size != 5 * _ROWS * images:
            raise ShapeError(f"needs {_ROWS} rows of 5 for each of {images} images: {y.shape}")
        every = y.reshape(images, _ROWS, 5)
        ends = ((rows[:, column] == 0).argmax() for rows in every for column in (1, 3))
        counts = np.array([*ends]).reshape(images, 2)
        counts[np.all(every[:, :, [1, 3]] != 0, axis=1)] = _ROWS
        pairs = zip(every, counts.tolist(), strict=True)
        return [(rows[:seen], rows[:fitted]) for rows, (seen, fitted) in pairs]

    def _place(self, row: Array, height: int, width: int) -> _Object:
        column, line = int(row[1] * width), int(row[2] * height)
        if not (0 <= column < width and 0 <= line < height and np.all(row[3:] > 0)):
            raise ShapeError(f"a box of the ground truth is none of the image: {row.tolist()}")
        return _Object(int(row[0]), row[1:], column, line)

    @staticmethod
    def _centres(cells: Array) -> Array:
        """Return the centres of the cells' boxes, (N, anchors, 2, height, width)."""
        height, width = cells.shape[3:]
        rows, columns = np.indices((height, width), np.float32)
        grid = np.stack([columns, rows])
        sizes = np.array([width, height], np.float32).reshape(2, 1, 1)
        centres: Array = (sigmoid(cells[:, :, :2]) + grid) / sizes
        return centres

    @staticmethod
    def _seen(boxes: Array, rows: Array, least: float) -> Array:
        """Return which boxes (anchors, height, width, 4) overlap a row's by more than `least`."""
        seen = np.zeros(boxes.shape[:3], bool)
        for row in rows:
            seen |= overlaps(boxes, row[1:]) > np.float32(least)
        return seen


@layer(param="region_loss_param", bottoms=2, loss=True)
class RegionLoss(_Yolo):
    """YOLO v2's loss: of anchors' boxes, of whether there is an object, and of its class.

    Ground truth of rows as of MultiBoxLoss is Intel's; there the errors of boxes are at most 1, and
    the loss is the batch's sum.

    From: eric612/MobileNet-YOLO and intel/caffe, src/caffe/layers/region_loss_layer.cpp
    Refused: softmax_tree and class_map, which are files; coords other than 4; maps that are not
        square; fewer than 5 anchors, which MobileNet-YOLO replaces by zeros.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        sizes = self.p.biases[: 2 * self.p.num]
        self._anchors = np.array(sizes, np.float32)[: len(sizes) // 2 * 2].reshape(-1, 2)

    def check_forward(self) -> None:
        if self.p.softmax_tree or self.p.class_map or self.p.coords != 4:
            raise UnsupportedError("softmax_tree, class_map, and coords other than 4 are unknown")
        if len(self.p.biases) < max(10, 2 * self.p.num):
            raise UnsupportedError(f"needs 5 anchors or more, {self.p.num}: {self.p.biases}")

    def _results(self, x: Array, y: Array) -> tuple[Array, Array]:
        self.check_forward()
        if x.shape[2] != x.shape[3]:
            raise UnsupportedError(f"needs a square map, and has {x.shape}")
        cells, side = self._cells(x), np.float32(x.shape[3])
        known, shares = sigmoid(cells[:, :, 4]), softmax(cells[:, :, 5:], 2)
        sizes = np.exp(cells[:, :, 2:4]) * self._anchors[..., None, None] / side
        boxes = np.moveaxis(np.concatenate([self._centres(cells), sizes], axis=2), 2, -1)
        d = np.zeros_like(cells)
        d[:, :, 4] = np.float32(self.p.noobject_scale) * known * known * (1 - known)
        bounded = len(y.shape) == 4 and y.shape[3] == 8
        both = [(own, own) for own in annotated(y, len(x))] if bounded else self._rows(y, len(x))
        for image, (seen, fitted) in enumerate(both):
            d[image, :, 4][self._seen(boxes[image], seen, self.p.thresh)] = 0
            for row in fitted:
                own = self._place(row, *x.shape[2:])
                at = (image, slice(None), own.row, own.column)
                anchors = self._anchors / side if self.p.bias_match else boxes[at][:, 2:]
                n = int(_fitting(anchors, own.box).argmax())
                cell = (image, n, slice(None), own.row, own.column)
                there = (image, n, own.row, own.column)
                d[cell][:4] = self._box(cells[cell], own, n, side, bounded)
                overlap = float(overlaps(boxes[there], own.box))
                d[cell][4] = self._object(float(known[there]), overlap, bounded)
                goal = np.arange(self.p.num_class) == own.label
                d[cell][5:] = np.float32(self.p.class_scale) * (shares[cell] - goal)
        total = np.square(d).sum()
        return (total if bounded else total / len(x)), d

    def _box(self, cell: Array, own: _Object, n: int, side: np.float32, bounded: bool) -> Array:
        place = sigmoid(cell[:2])
        goal = own.box[:2] * side - own.cell
        size = np.log(own.box[2:] * side / self._anchors[n])
        d = np.concatenate([goal - place, size - cell[2:4]])
        d = np.clip(d, -1, 1) if bounded else d
        d[:2] *= place * (1 - place)
        scale = self.p.coord_scale
        if not (bounded or self.p.rescore):
            scale *= 2 - float(own.box[2:].prod())
        return np.asarray(np.float32(-scale) * d)

    def _object(self, known: float, overlap: float, bounded: bool) -> float:
        missing = (overlap if self.p.rescore else 1) - known
        factor = 2 * (1 - known) ** 3 if bounded else missing
        return float(-self.p.object_scale * factor * known * (1 - known))


@layer(param="yolov3_param", bottoms=2, loss=True)
class Yolov3(_Yolo):
    """YOLO v3's loss: of the boxes of the anchors that fit, of whether they have an object, of it.

    From: eric612/MobileNet-YOLO, src/caffe/layers/yolov3_layer.cpp
    Refused: an iou_loss other than MSE; use_focal_loss.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._anchors = np.array(self.p.biases, np.float32).reshape(-1, 2)
        self._mask = list(self.p.mask)[: self.p.num]
        if len(self._mask) < self.p.num or max(self._mask, default=0) >= len(self._anchors):
            raise ShapeError(
                f"mask {self._mask} does not give {self.p.num} anchors of {len(self._anchors)}"
            )

    def check_forward(self) -> None:
        if self.p.iou_loss != Yolov3Parameter.MSE or self.p.use_focal_loss:
            raise UnsupportedError("supports no iou_loss but MSE, and no use_focal_loss")

    def _results(self, x: Array, y: Array) -> tuple[Array, Array]:
        self.check_forward()
        cells, shape = self._cells(x), np.array(x.shape[:1:-1], np.float32)
        pixels = shape * self.p.anchors_scale
        active = sigmoid(cells)
        active[:, :, 2:4] = cells[:, :, 2:4]
        sizes = np.exp(cells[:, :, 2:4]) * (self._anchors[self._mask] / pixels)[..., None, None]
        boxes = np.moveaxis(np.concatenate([self._centres(cells), sizes], axis=2), 2, -1)
        d = np.zeros_like(cells)
        d[:, :, 4] = active[:, :, 4]
        for image, (seen, fitted) in enumerate(self._rows(y, len(x))):
            d[image, :, 4][self._seen(boxes[image], seen, self.p.thresh)] = 0
            for row in fitted:
                own = self._place(row, *x.shape[2:])
                if not 0 <= own.label < self.p.num_class:
                    raise ShapeError(f"label {own.label} is outside {self.p.num_class} classes")
                for n in self._chosen(_fitting(self._anchors / pixels, own.box)):
                    cell = (image, n, slice(None), own.row, own.column)
                    self._fit(d[cell], active[cell], own, self._mask[n], shape)
        loss = np.square(d).sum() / len(x)
        if self.p.use_logic_gradient:
            slope = active * (1 - active)
            slope[:, :, 2:4] = 1
            d = d * slope
        return loss, d

    def _chosen(self, overlap: Array) -> list[int]:
        """Return which of the bottom's anchors fit a box: the best of all, and near ones.

        The fork leaves out of the near ones that whose number is the best one's place in the mask.
        """
        best, near = int(overlap.argmax()), overlap > np.float32(self.p.iou_thresh)
        near &= self.p.iou_thresh < 1
        near[self._mask.index(best) if best in self._mask else best] = False
        return [i for i, n in enumerate(self._mask) if n == best or near[n]]

    def _fit(self, d: Array, active: Array, own: _Object, n: int, shape: Array) -> None:
        """Write the differences of an anchor's cell."""
        scale = np.float32(self.p.coord_scale * (2 - float(own.box[2:].prod())))
        place = own.box[:2] * shape - own.cell
        size = np.log(own.box[2:] * shape * self.p.anchors_scale / self._anchors[n])
        d[:4] = scale * (active[:4] - np.concatenate([place, size]))
        d[4] = (active[4] - 1) * (self.p.object_scale if self.p.use_logic_gradient else 1)
        eps, one = self.p.label_smooth_eps, np.arange(self.p.num_class) == own.label
        wanted = one * (1 - eps) + 0.5 * eps
        errors = np.float32(self.p.class_scale) * (active[5:] - np.float32(wanted))
        # A second object in the cell leaves the other classes to the first.
        d[5:] = np.where(one | (d[5 + own.label] == 0), errors, d[5:])
