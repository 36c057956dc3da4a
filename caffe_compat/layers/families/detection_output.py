"""DetectionOutput: SSD's detections from its predictions and the default boxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np

from ...caffe_pb2 import LayerParameter, PriorBoxParameter
from ...errors import ShapeError, UnsupportedError
from ...types import AnyArray, Array, Shape
from .. import boxes as bx
from ..builder import FLOAT, Builder, int64
from ..layer import Layer
from ..registry import layer

Size: TypeAlias = int | str  # a number, or the name of its tensor


@layer(param="detection_output_param", bottoms=(3, 4))
class DetectionOutput(Layer):
    """Detections: rows image, label, score, xmin, ymin, xmax, ymax.

    From: weiliu89/caffe, branch ssd, detection_output_layer.cpp

    Bottoms: locations (N, 4 P) or (N, 4 P classes), scores (N, P classes), priors (1, 2, 4 P), or
    (N, 2, 4 P), of which the first are used, or (1, 1, 4 P) with variance_encoded_in_target. A
    fourth, which Caffe only draws on, is not read. Boxes are decoded, suppressed class by class and
    sorted by image, label and falling score (Liu et al. 2016, 2.2). If no image has a detection,
    there is one row an image, of -1 after the image. Equal scores are in the order of labels and
    priors, which C++'s sort leaves open at keep_top_k. Caffe's files and drawings are not written.

    Refused: use_polygon of MhLiao/TextBoxes_plusplus; soft_nms of beniz/deepdetect; OpenCV's
        normalized_bbox: false.
    """

    varies = (2,)
    _columns = 7

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        p = self.p
        if not p.HasField("num_classes"):
            raise ShapeError("must specify num_classes")
        if p.nms_param.nms_threshold < 0:
            raise ShapeError(f"nms_threshold must be non negative: {p.nms_param.nms_threshold:g}")
        if not 0 < p.nms_param.eta <= 1:
            raise ShapeError(f"eta must be above 0 and at most 1, and is {p.nms_param.eta:g}")
        if p.share_location and p.background_label_id == -1:
            raise ShapeError(
                "background_label_id -1 stands for the boxes that share_location has; "
                "Caffe then has no detection"
            )
        if p.nms_param.soft_nms:
            raise UnsupportedError(
                "soft_nms: true lowers the scores of boxes that overlap; ONNX's operator drops them"
            )
        if not p.normalized_bbox:
            raise UnsupportedError(
                "normalized_bbox: false is OpenCV's, for boxes in pixels, each a pixel larger than "
                "its corners; leave the layer out, and decode its bottoms"
            )
        if p.use_polygon:
            raise UnsupportedError(
                "use_polygon is TextBoxes++'s: rows of quadrangles, suppressed by the overlap of "
                "polygons; take the layer out, and decode its bottoms"
            )
        explicit = p.HasField("confidence_threshold")
        self._least = float(p.confidence_threshold if explicit else np.finfo(np.float32).min)

    @cached_property
    def _labels(self) -> list[int]:
        """The classes but the background; read after `shapes` has checked their number."""
        return [c for c in range(self.p.num_classes) if c != self.p.background_label_id]

    def shapes(self, *x: Shape) -> list[Shape | None]:
        loc, conf, prior = x[:3]
        if any(not 2 <= len(shape) <= 4 for shape in (loc, conf)):
            raise ShapeError(f"needs bottoms of 2 to 4 axes, and has {loc} and {conf}")
        if loc[0] != conf[0]:
            raise ShapeError(
                f"locations and scores must have the same first dimension: {loc[0]} and {conf[0]}"
            )
        several = prior[1:2] == (2,)  # of which the first are used
        rows = 1 if self.p.variance_encoded_in_target and prior[1:2] == (1,) else 2
        if len(prior) not in (3, 4) or prior[2] % 4 or prod(prior[several:]) != rows * prior[2]:
            raise ShapeError(f"needs priors of shape (1, 2, 4 P), and has {prior}")
        priors, classes = prior[2] // 4, self.p.num_classes
        for what, shape, each in (
            ("location", loc, 4 if self.p.share_location else 4 * classes),
            ("confidence", conf, classes),
        ):
            if prod(shape[1:]) != priors * each:
                raise ShapeError(
                    f"number of priors must match number of {what} predictions: "
                    f"{priors} priors of {each} for {shape}"
                )
        return [(1, 1, 1, self._columns)]

    def forward(self, loc: Array, conf: Array, prior: Array, *drawn_on: Array) -> Array:
        scores = conf.reshape(len(conf), -1, self.p.num_classes)
        return self._detect(self._decoded(loc, prior), scores)

    def _detect(self, boxes: Array, scores: Array) -> Array:
        rows: list[Array] = []
        for image, score in enumerate(scores):
            candidates = [
                (label, index)
                for label in self._labels
                for index in bx.suppress(
                    boxes[image, :, self._place(label), :4],
                    score[:, label],
                    self._least,
                    self.p.nms_param,
                )
            ]
            best = sorted(
                range(len(candidates)), key=lambda i: -score[candidates[i][1], candidates[i][0]]
            )
            if self.p.keep_top_k > -1:
                best = best[: self.p.keep_top_k]
            for label, index in (candidates[i] for i in sorted(best)):
                corners = self._show(boxes[image, index, self._place(label)])
                rows.append(np.array([image, label, score[index, label], *corners], np.float32))
        return np.array([[rows]]) if rows else self._nothing(len(scores))

    def _place(self, label: int) -> int:
        return 0 if self.p.share_location else label

    def _decoded(self, loc: Array, prior: Array) -> Array:
        """Return every box, (images, priors, classes or 1, 4)."""
        p = self.p
        rows = prior.reshape(-1)[: 2 * prior.shape[2]].reshape(-1, prior.shape[2] // 4, 1, 4)
        priors = rows[0]
        bx.check_priors(priors[:, 0], p.code_type)
        predictions = loc.reshape(len(loc), len(priors), -1, 4)
        scale = None if p.variance_encoded_in_target else rows[1]
        boxes = bx.decode(predictions, priors, scale, p.code_type)
        return np.clip(boxes, 0, 1) if p.clip else boxes

    def lower(self, g: Builder, loc: str, conf: str, prior: str, *drawn_on: str) -> str:
        scores = g.Transpose(g.Reshape(conf, int64(0, -1, self.p.num_classes)), perm=[0, 2, 1])
        scores = self._of_labels(g, scores)
        return self._lower_detect(
            g, conf, prior, scores, lambda: self._lower_decoded(g, loc, prior)
        )

    def _lower_detect(
        self, g: Builder, conf: str, prior: str, scores: str, decode: Callable[[], str]
    ) -> str:
        """Write the rows of scores (images, labels, priors) and of the boxes of `decode`."""
        images, none = g.dims(conf)[0], self._lower_nothing(g, conf)
        if not self._labels or 0 in (self.p.keep_top_k, self._top_k):
            return none
        # From here on (images, labels, candidates): the best of each label, by falling score.
        count = self._candidates(g, prior, scores)
        scores, order = g.TopK(scores, _vector(g, count), axis=2, outputs=2)
        boxes = decode()
        batch = 1 if self.p.share_location else 2
        boxes = g.GatherND(boxes, g.Unsqueeze(order, int64(3)), batch_dims=batch)
        mask = self._lower_suppressed(g, boxes, scores, images, count)
        mask = self._lower_best(g, mask, scores, images, count)
        rows = self._lower_rows(g, mask, boxes, scores)
        # By the mask and not by the number of rows, whose arithmetic would leave a GPU.
        some = g.ReduceMax(g.Reshape(g.Cast(mask, to=FLOAT), int64(1, -1)), int64(1), keepdims=0)
        fixed = None if images is None else int64(self._nothing(images).shape[2])
        every = g.Shape(none, start=2, end=3) if fixed is None else fixed
        alone = g.NonZero(g.Expand(g.Equal(some, np.float32(0)), every))
        return g.Concat(rows, g.Gather(none, g.Squeeze(alone, int64(0)), axis=2), axis=2)

    @property
    def _top_k(self) -> int | None:
        nms = self.p.nms_param
        return nms.top_k if nms.HasField("top_k") and nms.top_k > -1 else None

    def _of_labels(self, g: Builder, x: str) -> str:
        """Write the part of x (images, classes, ...) of the labels that are not the background."""
        if len(self._labels) == self.p.num_classes:
            return x
        return g.Gather(x, int64(*self._labels), axis=1)

    def _candidates(self, g: Builder, prior: str, scores: str) -> Size:
        """Return the number of candidates of each label: top_k, or all if they are fewer."""
        coordinates, most = g.dims(prior)[2], self._top_k
        if coordinates is not None:
            return coordinates // 4 if most is None else min(coordinates // 4, most)
        every = g.Shape(scores, start=2)
        return every if most is None else g.Min(every, int64(most))

    def _lower_decoded(self, g: Builder, loc: str, prior: str) -> str:
        """Write every box: (images, priors, 4), or (images, labels, priors, 4) if not shared."""
        p = self.p
        images, rows = g.dims(prior)[:2]
        if images != 1 and rows == 2:
            prior = g.Slice(prior, int64(0), int64(1), int64(0))
        fixed = g.known(prior)
        if fixed is not None:
            bx.check_priors(fixed.reshape(-1)[: fixed.shape[2]].reshape(-1, 4), p.code_type)
        if rows == 1 and p.variance_encoded_in_target:
            priors = variances = g.Reshape(prior, int64(1, -1, 4))
        else:
            both = g.Reshape(prior, int64(2, -1, 4))
            priors, variances = g.Split(both, axis=0, num_outputs=2, outputs=2)
        if p.share_location:
            predictions = g.Reshape(loc, int64(0, -1, 4))
        else:
            predictions = g.Reshape(loc, int64(0, -1, p.num_classes, 4))
            predictions = self._of_labels(g, g.Transpose(predictions, perm=[0, 2, 1, 3]))
        scale = None if p.variance_encoded_in_target else variances
        boxes = bx.lower_decode(g, predictions, priors, scale, p.code_type)
        return g.Clip(boxes, np.float32(0), np.float32(1)) if p.clip else boxes

    def _lower_suppressed(
        self, g: Builder, boxes: str, scores: str, images: int | None, count: Size
    ) -> str:
        """Write the mask of the candidates that no better one suppresses."""
        nms, labels = self.p.nms_param, len(self._labels)
        if self.p.code_type != PriorBoxParameter.CENTER_SIZE:
            boxes = bx.lower_flat(g, boxes)
        if nms.eta < 1 and nms.nms_threshold > 0.5:
            return bx.lower_suppress_adaptively(g, boxes, scores, self._least, nms)
        each = g.Reshape(scores, _vector(g, -1, 1, count))
        indices = g.NonMaxSuppression(
            g.Reshape(boxes, _vector(g, -1, count, 4)),
            each,
            np.int64(count) if isinstance(count, int) else g.Squeeze(count),
            np.float32(nms.nms_threshold),
            np.float32(self._least),
        )
        none = _unmarked(g, each, images and images * labels, 1, count)
        marks = g.ConstantOfShape(g.Shape(indices, end=1), value=np.ones(1, np.float32))
        mask = _marked(g, g.ScatterND(none, indices, marks))
        return g.Reshape(mask, _vector(g, -1, labels, count))

    def _lower_best(
        self, g: Builder, mask: str, scores: str, images: int | None, count: Size
    ) -> str:
        """Write the mask of the keep_top_k best of each image."""
        keep, labels = self.p.keep_top_k, len(self._labels)
        if keep < 0 or (isinstance(count, int) and labels * count <= keep):
            return mask
        most = keep if isinstance(count, int) else g.Min(g.Mul(count, int64(labels)), int64(keep))
        flat = g.Reshape(g.Where(mask, scores, np.float32(-np.inf)), int64(0, -1))
        places = g.TopK(flat, _vector(g, most), axis=1, outputs=2)[1]
        none = _unmarked(g, flat, images, count * labels if isinstance(count, int) else None)
        # By the marks and not by the values: on WebGPU infinity may be any number.
        marks = g.Reshape(g.Cast(mask, to=FLOAT), int64(0, -1))
        some = g.GatherElements(marks, places, axis=1)
        best = _marked(g, g.ScatterElements(none, places, some, axis=1))
        return g.Reshape(best, _vector(g, -1, labels, count))

    def _lower_rows(self, g: Builder, mask: str, boxes: str, scores: str) -> str:
        """Write a row for each candidate of the mask, (1, 1, rows, columns)."""
        places = g.Transpose(g.NonZero(mask), perm=[1, 0])
        image, label, _ = g.Split(places, axis=1, num_outputs=3, outputs=3)
        image = g.Cast(image, to=FLOAT)
        label = g.Gather(np.array(self._labels, np.float32), label)
        score = g.Unsqueeze(g.GatherND(scores, places), int64(1))
        box = self._lower_show(g, g.GatherND(boxes, places))
        rows = g.Concat(image, label, score, box, axis=1)
        return g.Unsqueeze(rows, int64(0, 1))

    def _show(self, box: Array) -> Array:
        """Return a box as a row has it."""
        return box

    def _lower_show(self, g: Builder, boxes: str) -> str:
        return boxes

    def _nothing(self, images: int) -> Array:
        """Return Caffe's rows for no detection in any image."""
        rows = np.full((1, 1, images, self._columns), -1, np.float32)
        rows[..., 0] = np.arange(images)
        return rows

    def _lower_nothing(self, g: Builder, conf: str) -> str:
        images = g.dims(conf)[0]
        if images is not None:
            return g.constant(self._nothing(images))
        numbers = g.Cast(bx.lower_range(g, g.Shape(conf, end=1)), to=FLOAT)
        numbers = g.Unsqueeze(numbers, int64(0, 1, 3))
        return g.Pad(numbers, int64(0, 0, 0, 0, 0, 0, 0, self._columns - 1), np.float32(-1))


def _unmarked(g: Builder, like: str, *sizes: Size | None) -> AnyArray | str:
    """Write zeros of these sizes; if one varies, of the shape of `like`.

    Marks are numbers until all are set: GPUs scatter no bool, or four of them as one word.
    """
    fixed = [size for size in sizes if isinstance(size, int)]
    if len(fixed) == len(sizes):
        return np.zeros(fixed, np.float32)
    return g.ConstantOfShape(g.Shape(like))


def _marked(g: Builder, marks: str) -> str:
    """Write where a mark is set."""
    return g.Greater(marks, np.float32(0))


def _vector(g: Builder, *sizes: Size) -> AnyArray | str:
    """Write sizes as one tensor; a name among them is a tensor of the run."""
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(numbers) == len(sizes):
        return int64(*numbers)
    parts = [int64(size) if isinstance(size, int) else size for size in sizes]
    return g.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]
