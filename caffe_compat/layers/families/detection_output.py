"""DetectionOutput: what SSD found, from its predictions and the default boxes."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np

from ...caffe_pb2 import LayerParameter, PriorBoxParameter
from ...errors import ShapeError, UnsupportedError
from ...types import AnyArray, Array, Shape
from .. import boxes as bx
from ..builder import FLOAT, Builder, int64
from ..layer import Layer, layer

Size: TypeAlias = int | str  # a number, or the name of a tensor that holds it


@layer(param="detection_output_param", bottoms=(3, 4))
class DetectionOutput(Layer):
    """Rows image, label, score, xmin, ymin, xmax, ymax of finds.

    From: weiliu89/caffe, branch ssd, detection_output_layer.cpp

    Bottoms: locations (N, 4 P) or (N, 4 P classes), scores (N, P classes), priors (1, 2, 4 P); a
    fourth, which Caffe only draws on, is not read. Decoded, then suppressed class by class: by
    image, label and falling score (Liu et al. 2016, 2.2). Where no image has anything, one row an
    image with -1 in all but the first place. Equal scores stand in the order of labels and priors,
    which C++'s sort leaves open at keep_top_k. Files and pictures that Caffe would write are not.

    Refused: use_polygon of MhLiao/TextBoxes_plusplus.
    """

    varies = (2,)

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
                "Caffe then finds none"
            )
        if p.use_polygon:
            raise UnsupportedError(
                "use_polygon is TextBoxes++'s: rows of quadrangles, which it "
                "suppresses by polygons' overlap; take the layer out, and "
                "decode its bottoms"
            )
        given = p.HasField("confidence_threshold")
        self._least = float(p.confidence_threshold if given else np.finfo(np.float32).min)

    @cached_property
    def _labels(self) -> list[int]:
        """The classes but the background; asked for only where `shapes` finds so many scores."""
        return [c for c in range(self.p.num_classes) if c != self.p.background_label_id]

    def shapes(self, *x: Shape) -> list[Shape | None]:
        loc, conf, prior = x[:3]
        if any(not 2 <= len(shape) <= 4 for shape in (loc, conf)):
            raise ShapeError(f"needs bottoms of 2 to 4 axes, and has {loc} and {conf}")
        if loc[0] != conf[0]:
            raise ShapeError(
                f"locations and scores must have the same first dimension: {loc[0]} and {conf[0]}"
            )
        if len(prior) not in (3, 4) or prior[2] % 4 or prod(prior) != 2 * prior[2]:
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
        return [(1, 1, 1, 7)]

    def forward(self, loc: Array, conf: Array, prior: Array, *drawn_on: Array) -> Array:
        found, scores = self._decoded(loc, prior), conf.reshape(len(conf), -1, self.p.num_classes)
        rows: list[Array] = []
        for image, score in enumerate(scores):
            kept = [
                (label, index)
                for label in self._labels
                for index in bx.suppress(
                    found[image, :, self._place(label)],
                    score[:, label],
                    self._least,
                    self.p.nms_param,
                )
            ]
            best = sorted(range(len(kept)), key=lambda i: -score[kept[i][1], kept[i][0]])
            if self.p.keep_top_k > -1:
                best = best[: self.p.keep_top_k]
            for label, index in (kept[i] for i in sorted(best)):
                shown = self._show(found[image, index, self._place(label)])
                rows.append(np.array([image, label, score[index, label], *shown], np.float32))
        return np.array([[rows]]) if rows else self._nothing(len(conf))

    def _place(self, label: int) -> int:
        return 0 if self.p.share_location else label

    def _decoded(self, loc: Array, prior: Array) -> Array:
        """Every box, (images, priors, classes or 1, 4)."""
        p = self.p
        priors, variances = prior.reshape(2, -1, 1, 4)
        bx.check_priors(priors[:, 0], p.code_type)
        predictions = loc.reshape(len(loc), len(priors), -1, 4)
        scale = None if p.variance_encoded_in_target else variances
        found = bx.decode(predictions, priors, scale, p.code_type)
        return np.clip(found, 0, 1) if p.clip else found

    def lower(self, g: Builder, loc: str, conf: str, prior: str, *drawn_on: str) -> str:
        images, none = g.dims(conf)[0], self._lower_nothing(g, conf)
        if not self._labels or 0 in (self.p.keep_top_k, self._top_k):
            return none
        scores = g.Transpose(g.Reshape(conf, int64(0, -1, self.p.num_classes)), perm=[0, 2, 1])
        scores = self._of_labels(g, scores)
        # From here on (images, labels, candidates): the best of each label, by falling score.
        count = self._candidates(g, prior, scores)
        scores, order = g.TopK(scores, _vector(g, count), axis=2, outputs=2)
        found = self._lower_decoded(g, loc, prior)
        batch = 1 if self.p.share_location else 2
        found = g.GatherND(found, g.Unsqueeze(order, int64(3)), batch_dims=batch)
        kept = self._lower_suppressed(g, found, scores, images, count)
        kept = self._lower_best(g, kept, scores, images, count)
        rows = self._lower_rows(g, kept, found, scores)
        empty = g.Equal(g.Shape(rows, start=2, end=3), int64(0))
        every = g.Shape(conf, end=1) if images is None else int64(images)
        fill = g.Where(empty, every, int64(0))
        return g.Concat(rows, g.Slice(none, int64(0), fill, int64(2)), axis=2)

    @property
    def _top_k(self) -> int | None:
        nms = self.p.nms_param
        return nms.top_k if nms.HasField("top_k") and nms.top_k > -1 else None

    def _of_labels(self, g: Builder, x: str) -> str:
        """What x (images, classes, ...) has for the labels that are not the background."""
        if len(self._labels) == self.p.num_classes:
            return x
        return g.Gather(x, int64(*self._labels), axis=1)

    def _candidates(self, g: Builder, prior: str, scores: str) -> Size:
        """How many boxes of each label are looked at: top_k, or all where they are fewer."""
        coordinates, most = g.dims(prior)[2], self._top_k
        if coordinates is not None:
            return coordinates // 4 if most is None else min(coordinates // 4, most)
        every = g.Shape(scores, start=2)
        return every if most is None else g.Min(every, int64(most))

    def _lower_decoded(self, g: Builder, loc: str, prior: str) -> str:
        """Every box: (images, priors, 4), or (images, labels, priors, 4) where they differ."""
        p = self.p
        known = g.known(prior)
        if known is not None:
            bx.check_priors(known.reshape(2, -1, 4)[0], p.code_type)
        both = g.Reshape(prior, int64(2, -1, 4))
        priors, variances = g.Split(both, axis=0, num_outputs=2, outputs=2)
        if p.share_location:
            predictions = g.Reshape(loc, int64(0, -1, 4))
        else:
            predictions = g.Reshape(loc, int64(0, -1, p.num_classes, 4))
            predictions = self._of_labels(g, g.Transpose(predictions, perm=[0, 2, 1, 3]))
        scale = None if p.variance_encoded_in_target else variances
        found = bx.lower_decode(g, predictions, priors, scale, p.code_type)
        return g.Clip(found, np.float32(0), np.float32(1)) if p.clip else found

    def _lower_suppressed(
        self, g: Builder, found: str, scores: str, images: int | None, count: Size
    ) -> str:
        """Which candidates stay, a mask."""
        nms, labels = self.p.nms_param, len(self._labels)
        if self.p.code_type != PriorBoxParameter.CENTER_SIZE:
            found = bx.lower_flat(g, found)
        if nms.eta < 1 and nms.nms_threshold > 0.5:
            return bx.lower_suppress_adaptively(g, found, scores, self._least, nms)
        each = g.Reshape(scores, _vector(g, -1, 1, count))
        chosen = g.NonMaxSuppression(
            g.Reshape(found, _vector(g, -1, count, 4)),
            each,
            np.int64(count) if isinstance(count, int) else g.Squeeze(count),
            np.float32(nms.nms_threshold),
            np.float32(self._least),
        )
        none = _unmarked(g, each, images and images * labels, 1, count)
        marks = g.ConstantOfShape(g.Shape(chosen, end=1), value=np.array([True]))
        kept = g.ScatterND(none, chosen, marks)
        return g.Reshape(kept, _vector(g, -1, labels, count))

    def _lower_best(
        self, g: Builder, kept: str, scores: str, images: int | None, count: Size
    ) -> str:
        """The mask less what keep_top_k leaves out of each image."""
        keep, labels = self.p.keep_top_k, len(self._labels)
        if keep < 0 or (isinstance(count, int) and labels * count <= keep):
            return kept
        most = keep if isinstance(count, int) else g.Min(g.Mul(count, int64(labels)), int64(keep))
        nothing = np.float32(-np.inf)
        flat = g.Reshape(g.Where(kept, scores, nothing), int64(0, -1))
        values, places = g.TopK(flat, _vector(g, most), axis=1, outputs=2)
        none = _unmarked(g, flat, images, count * labels if isinstance(count, int) else None)
        best = g.ScatterElements(none, places, g.Greater(values, nothing), axis=1)
        return g.Reshape(best, _vector(g, -1, labels, count))

    def _lower_rows(self, g: Builder, kept: str, found: str, scores: str) -> str:
        """A row for everything in the mask, (1, 1, rows, 7)."""
        places = g.Transpose(g.NonZero(kept), perm=[1, 0])
        image, label, _ = g.Split(places, axis=1, num_outputs=3, outputs=3)
        image = g.Cast(image, to=FLOAT)
        label = g.Gather(np.array(self._labels, np.float32), label)
        score = g.Unsqueeze(g.GatherND(scores, places), int64(1))
        box = self._lower_show(g, g.GatherND(found, places))
        rows = g.Concat(image, label, score, box, axis=1)
        return g.Unsqueeze(rows, int64(0, 1))

    def _show(self, box: Array) -> Array:
        """What a row says of a box that stays."""
        return box

    def _lower_show(self, g: Builder, boxes: str) -> str:
        return boxes

    def _nothing(self, images: int) -> Array:
        """What Caffe says where no image has anything."""
        rows = np.full((1, 1, images, 7), -1, np.float32)
        rows[..., 0] = np.arange(images)
        return rows

    def _lower_nothing(self, g: Builder, conf: str) -> str:
        images = g.dims(conf)[0]
        if images is not None:
            return g.constant(self._nothing(images))
        numbers = g.Cast(bx.lower_range(g, g.Shape(conf, end=1)), to=FLOAT)
        numbers = g.Unsqueeze(numbers, int64(0, 1, 3))
        return g.Pad(numbers, int64(0, 0, 0, 0, 0, 0, 0, 6), np.float32(-1))


def _unmarked(g: Builder, like: str, *sizes: Size | None) -> AnyArray | str:
    """A mask of nothing, of these sizes; where one varies, of the shape that `like` has."""
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        return np.zeros(known, bool)
    return g.ConstantOfShape(g.Shape(like), value=np.array([False]))


def _vector(g: Builder, *sizes: Size) -> AnyArray | str:
    """Sizes as one tensor; a name among them is one that the run finds."""
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(numbers) == len(sizes):
        return int64(*numbers)
    parts = [int64(size) if isinstance(size, int) else size for size in sizes]
    return g.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]
