"""The boxes of a region proposal network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..boxes import suppress_sorted
from ..builder import FLOAT, Builder, Operand, int64
from ..layer import Arrays, Layer
from ..registry import layer


@layer("Proposal", fork="pvanet", param="proposal_param", bottoms=3, tops=(1, 2))
class Proposal(Layer):
    """Proposals of anchors `scale` times a box of base_size, its sides rounded (Ren et al. 2015).

    The bottoms are the scores of 2 A channels (background, then object), 4 A corrections and
    im_info (height, width, scale; or a scale for y and one for x; what follows is not read). Boxes
    are decoded and cut at the image's edge; those smaller than min_size times the scale get score
    0. Of the pre_nms_topn best, at most post_nms_topn remain, none of which overlaps a better one
    by more than nms_thresh. The tops are rows of (image, x0, y0, x1, y1), best first, and their
    scores; their number depends on the data. Equal scores keep their order, which the forks' sort
    leaves open.

    From: PVANET (sanghoon/pva-faster-rcnn), proposal_layer.cpp, by its copies: anchors by
        oylz/caffe-pvanet-shufflenet, rows by openvinotoolkit/training_toolbox_caffe
        (by reading alone).
    Refused: no fork named (caffe-windows has other anchors); no `ratio` or `scale`.
    Refused: an im_info of several images, of which some forks read only the first.
    Refused: nms_thresh outside 0 to 1. Not exact: proposals thinner than 1 + 1 / nms_thresh pixels,
        whose overlaps no ONNX operator counts as the forks do.
    """

    varies = (0,)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._check()

    def _check(self) -> None:
        if not (self.p.ratio and self.p.scale):
            raise UnsupportedError(
                "has no ratio or no scale: forks without those have anchors in their code"
            )
        if not 0 <= self.p.nms_thresh <= 1:
            raise UnsupportedError(f"nms_thresh {self.p.nms_thresh} is not between 0 and 1")
        for field in ("pre_nms_topn", "post_nms_topn", "feat_stride", "base_size"):
            if getattr(self.p, field) < 1:
                raise ShapeError(f"{field} must be positive, and is {getattr(self.p, field)}")

    def _side(self, ratio: np.float32) -> tuple[np.float32, np.float32]:
        """Return width and height of the base box at a ratio."""
        width = _whole(np.sqrt(np.float32(self.p.base_size**2) / ratio))
        return width, _whole(width * ratio)

    def _reach(self, side: np.float32, scale: np.float32) -> np.float32:
        """Return half the extent of an anchor."""
        return np.float32(0.5) * (side * scale - 1)

    def anchors(self) -> Array:
        """Return (A, 4): every scale of every ratio, about the middle of the base box."""
        centre = np.float32(0.5) * np.float32(self.p.base_size - 1)
        boxes = []
        for ratio in np.array(self.p.ratio, np.float32):
            for scale in np.array(self.p.scale, np.float32):
                x, y = (self._reach(side, scale) for side in self._side(ratio))
                boxes.append([centre - x, centre - y, centre + x, centre + y])
        return np.array(boxes, np.float32)

    def _grid(self, height: int, width: int) -> Array:
        """Return (height * width * A, 4): the anchors at every position."""
        y, x = np.indices((height, width), np.float32) * np.float32(self.p.feat_stride)
        shift = np.stack([x, y, x, y], axis=2)
        return (shift[:, :, None] + self.anchors()).reshape(-1, 4)

    def shapes(self, scores: Shape, deltas: Shape, info: Shape) -> list[Shape | None]:
        count = len(self.p.ratio) * len(self.p.scale)
        expected = [(*scores[:1], 2 * count, *scores[2:]), (*scores[:1], 4 * count, *scores[2:])]
        if len(scores) != 4 or [scores, deltas] != expected:
            raise ShapeError(
                f"{count} anchors want scores and corrections of {2 * count} and "
                f"{4 * count} channels; they are {scores} and {deltas}"
            )
        if int(np.prod(info[1:])) < 3:
            raise ShapeError(f"im_info must have 3 numbers an image or more, and is {info}")
        if info[:1] != (1,):
            raise UnsupportedError(
                f"im_info {info} of several images: some forks read the first image's for all"
            )
        rows = scores[0] * self.p.post_nms_topn
        tops: list[Shape | None] = [(rows, 5), (rows,)]
        return tops[: len(self.proto.top)]

    def forward(self, scores: Array, deltas: Array, info: Array) -> Arrays:
        n, _, height, width = scores.shape
        boxes = _decode(self._grid(height, width), _by_place(deltas, 4))
        picture = info.ravel()
        bounds = picture[[1, 0, 1, 0]] - 1
        boxes = np.maximum(np.float32(0), np.minimum(boxes, bounds))
        least = np.float32(self.p.min_size) * self._scales(picture)
        large = np.all(boxes[..., 2:] - boxes[..., :2] + 1 >= least, axis=2)
        rank = self._rank(_by_place(scores[:, scores.shape[1] // 2 :], 1)[..., 0], large)
        rows, ranks = [], []
        for i in range(n):
            best = np.argsort(-rank[i], kind="stable")[: self.p.pre_nms_topn]
            best = best[rank[i][best] > -np.inf]
            indices = best[suppress_sorted(boxes[i][best], self.p.nms_thresh, self.p.post_nms_topn)]
            rows.append(np.insert(boxes[i][indices], 0, i, axis=1))
            ranks.append(rank[i][indices])
        tops = (np.concatenate(rows), np.concatenate(ranks))
        return tops[: len(self.proto.top)]

    def _scales(self, picture: Array) -> Array:
        """Return the image's scales for x and y."""
        return picture[[3 if picture.size > 3 else 2, 2]]

    def _rank(self, scores: Array, large: NDArray[np.bool_]) -> Array:
        """Return what the boxes are sorted by; -inf leaves a box out."""
        return scores * large

    def _lower_rank(self, g: Builder, scores: str, large: str) -> str:
        return g.Mul(scores, large)

    _least: np.float32 | None = None  # a score that a box must exceed

    def lower(self, g: Builder, scores: str, deltas: str, info: str) -> tuple[str, ...]:
        size, centre = self._lower_grid(g, scores)
        channels = len(self.p.ratio) * len(self.p.scale)
        moves, growth = g.Split(
            g.Reshape(_lower_by_place(g, deltas, channels, 4), int64(0, -1, 4)),
            int64(2, 2),
            axis=2,
            outputs=2,
        )
        middle = g.Add(g.Mul(moves, size), centre)
        half = g.Mul(g.Mul(g.Exp(growth), size), np.float32(0.5))
        boxes = g.Concat(g.Sub(middle, half), g.Add(middle, half), axis=2)
        picture = g.Reshape(info, int64(-1))
        bounds = g.Sub(g.Gather(picture, int64(1, 0, 1, 0)), np.float32(1))
        boxes = g.Max(g.Min(boxes, bounds), np.float32(0))
        rank = self._lower_rank(
            g, self._lower_scores(g, scores, channels), self._lower_large(g, boxes, picture, info)
        )
        boxes, rank = self._lower_best(g, scores, boxes, rank)
        # The last pixel counts with its whole width, which NonMaxSuppression does not add.
        indices = g.NonMaxSuppression(
            g.Add(boxes, np.array([0, 0, 1, 1], np.float32)),
            g.Unsqueeze(rank, int64(1)),
            int64(self.p.post_nms_topn),
            np.array([self.p.nms_thresh], np.float32),
            self._least,
        )
        places = g.Gather(indices, int64(0, 2), axis=1)
        image = g.Cast(g.Slice(places, int64(0), int64(1), int64(1)), to=FLOAT)
        rows = g.Concat(image, g.GatherND(boxes, places), axis=1)
        return (rows, g.GatherND(rank, places))[: len(self.proto.top)]

    def _lower_grid(self, g: Builder, scores: str) -> tuple[Operand, Operand]:
        """Return sizes and centres of the anchors at every position, constants for a fixed size."""
        sizes = g.dims(scores)[2:]
        if None not in sizes:
            anchors = self._grid(*(n or 0 for n in sizes))
            extent = anchors[:, 2:] - anchors[:, :2] + 1
            return extent, anchors[:, :2] + np.float32(0.5) * extent
        shift: Operand = np.zeros((1, 1, 1, 4), np.float32)
        for axis, columns in ((2, [1, 3]), (3, [0, 2])):
            mask = np.zeros(4, np.float32)
            mask[columns] = self.p.feat_stride
            count = g.Squeeze(g.Shape(scores, start=axis, end=axis + 1))
            steps = g.Cast(g.Range(np.int64(0), count, np.int64(1)), to=FLOAT)
            shape = [1, 1, 1, 1]
            shape[axis - 2] = -1
            shift = g.Add(shift, g.Mul(g.Reshape(steps, int64(*shape)), mask))
        grid = g.Reshape(g.Add(shift, self.anchors()), int64(-1, 4))
        first, last = g.Split(grid, int64(2, 2), axis=1, outputs=2)
        size = g.Add(g.Sub(last, first), np.float32(1))
        return size, g.Add(first, g.Mul(size, np.float32(0.5)))

    @staticmethod
    def _lower_scores(g: Builder, scores: str, channels: int) -> str:
        """Write the objects' scores, (num, positions * A)."""
        objects = g.Slice(scores, int64(channels), int64(2 * channels), int64(1))
        return g.Reshape(g.Transpose(objects, perm=[0, 2, 3, 1]), int64(0, -1))

    def _lower_large(self, g: Builder, boxes: str, picture: str, info: str) -> str:
        """Write 1 for a box of at least min_size, 0 for a smaller one."""
        scales = [3 if int(np.prod(g.shape(info))) > 3 else 2, 2]
        least = g.Mul(g.Gather(picture, int64(*scales)), np.float32(self.p.min_size))
        return self._lower_least(g, boxes, least)

    @staticmethod
    def _lower_least(g: Builder, boxes: str, least: str) -> str:
        first, last = g.Split(boxes, int64(2, 2), axis=2, outputs=2)
        size = g.Add(g.Sub(last, first), np.float32(1))
        large = g.Cast(g.GreaterOrEqual(size, least), to=FLOAT)
        return g.ReduceMin(large, int64(2), keepdims=0)

    def _lower_best(self, g: Builder, scores: str, boxes: str, rank: str) -> tuple[str, str]:
        """Write the pre_nms_topn best boxes; all if there are no more."""
        most = self.p.pre_nms_topn
        sizes = g.dims(scores)[2:]
        if None not in sizes:
            count = len(self._grid(*(n or 0 for n in sizes)))
            if count <= most:
                return boxes, rank
            k: Operand = int64(most)
        else:
            k = g.Min(g.Shape(rank, start=1, end=2), int64(most))
        rank, places = g.TopK(rank, k, axis=1, outputs=2)
        return g.GatherND(boxes, g.Unsqueeze(places, int64(2)), batch_dims=1), rank


@layer("Proposal", fork="caffe-windows", param="proposal_param", bottoms=3, tops=(1, 2))
class PixelProposal(Proposal):
    """Proposals of anchors of `scale` pixels, their sides rounded at the end (Ren et al. 2015).

    All else is as pvanet's.

    From: happynear/caffe-windows, src/caffe/layers/proposal_layer.cpp.
    Refused: as pvanet's.
    """

    def _side(self, ratio: np.float32) -> tuple[np.float32, np.float32]:
        width = np.sqrt(np.float32(self.p.base_size**2) / ratio)
        return width, width * ratio

    def _reach(self, side: np.float32, scale: np.float32) -> np.float32:
        # In C the factor 1.0 converts to double before the division.
        length = np.float64(side * scale) / self.p.base_size - 1
        return np.float32(0.5) * np.float32(np.trunc(length + 0.5))


# -- numpy -------------------------------------------------------------------------------------


def _whole(x: np.float32) -> np.float32:
    return np.float32(np.trunc(x + np.float32(0.5)))


def _by_place(x: Array, parts: int) -> Array:
    """Return (num, A * parts, height, width) as (num, height * width * A, parts)."""
    n, c, height, width = x.shape
    split = x.reshape(n, c // parts, parts, height, width)
    return split.transpose(0, 3, 4, 1, 2).reshape(n, -1, parts)


def _decode(anchors: Array, deltas: Array) -> Array:
    """Return the corrected boxes: centres by shares of the anchors' sizes, sizes by logarithms."""
    size = anchors[:, 2:] - anchors[:, :2] + 1
    centre = anchors[:, :2] + np.float32(0.5) * size
    middle = deltas[..., :2] * size + centre
    half = np.float32(0.5) * (np.exp(deltas[..., 2:]) * size)
    return np.concatenate([middle - half, middle + half], axis=2)


# -- ONNX --------------------------------------------------------------------------------------


def _lower_by_place(g: Builder, x: str, channels: int, parts: int) -> str:
    """Write (num, A * parts, height, width) as (num, height, width, A, parts)."""
    dims = g.dims(x)
    if None in dims[2:]:
        sizes: Operand = g.Concat(int64(0, channels, parts), g.Shape(x, start=2, end=4), axis=0)
    else:
        sizes = int64(0, channels, parts, g.fixed(x, 2), g.fixed(x, 3))
    return g.Transpose(g.Reshape(x, sizes), perm=[0, 3, 4, 1, 2])
