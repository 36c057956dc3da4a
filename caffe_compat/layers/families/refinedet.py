"""DetectionOutput of RefineDet, and of maps whose channels are not last."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import boxes as bx
from ..builder import Builder, int64
from ..registry import layer
from .detection_output import DetectionOutput


@layer(
    "DetectionOutput",
    fork="refinedet",
    fields=("objectness_score",),
    param="detection_output_param",
    bottoms=(3, 5),
)
class RefinedDetectionOutput(DetectionOutput):
    """Detections as SSD's, of priors that a fourth bottom sifts and a fifth moves first.

    The fourth has two scores a prior: one whose second is below objectness_score is background.
    The fifth has a correction a prior, applied before that of the first bottom.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/detection_output_layer.cpp and util/bbox_util.cpp, after
        sfzhang15/RefineDet
    Refused: share_location: false; another background_label_id than 0; 4 bottoms.
    """

    @classmethod
    def stated(cls, proto: LayerParameter) -> bool:
        return bool(proto.detection_output_param.HasField("objectness_score"))

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if len(x) == 4:
            raise ShapeError("takes 3 or 5 bottoms, and has 4")
        if len(x) == 5:
            if not self.p.share_location or self.p.background_label_id:
                raise UnsupportedError("needs share_location and background_label_id 0")
            priors = x[2][2] // 4
            for shape, each in ((x[3], 2), (x[4], 4)):
                if shape[0] != x[0][0] or int(np.prod(shape[1:])) != each * priors:
                    raise ShapeError(f"{priors} priors of {each} for {shape}")
        return super().shapes(*x[:3])

    def forward(self, *x: Array) -> Array:
        if len(x) < 5:
            return super().forward(*x)
        loc, conf, prior, sifting, moving = x
        least = np.float32(self.p.objectness_score)
        objects = sifting.reshape(len(loc), -1, 2)[:, :, 1:] >= least
        scores = conf.reshape(len(conf), -1, self.p.num_classes) * objects
        priors, variances = prior.reshape(2, -1, 4)
        bx.check_priors(priors, self.p.code_type)
        scale = None if self.p.variance_encoded_in_target else variances
        boxes = priors
        for corrections in (moving, loc):
            deltas = corrections.reshape(len(loc), -1, 4)
            boxes = bx.decode(deltas, boxes, scale, self.p.code_type)
        boxes = boxes[:, :, None]
        return self._detect(np.clip(boxes, 0, 1) if self.p.clip else boxes, scores)

    def lower(self, g: Builder, *x: str) -> str:
        if len(x) < 5:
            return super().lower(g, *x)
        loc, conf, prior, sifting, moving = x
        pairs = g.Transpose(g.Reshape(sifting, int64(0, -1, 2)), perm=[0, 2, 1])
        second = g.Slice(pairs, int64(1), int64(2), int64(1))
        objects = g.Cast(g.GreaterOrEqual(second, np.float32(self.p.objectness_score)), to=1)
        scores = g.Transpose(g.Reshape(conf, int64(0, -1, self.p.num_classes)), perm=[0, 2, 1])
        scores = g.Mul(self._of_labels(g, scores), objects)

        def decode() -> str:
            both = g.Reshape(prior, int64(2, -1, 4))
            priors, variances = g.Split(both, axis=0, num_outputs=2, outputs=2)
            scale = None if self.p.variance_encoded_in_target else variances
            boxes = priors
            for corrections in (moving, loc):
                deltas = g.Reshape(corrections, int64(0, -1, 4))
                boxes = bx.lower_decode(g, deltas, boxes, scale, self.p.code_type)
            return g.Clip(boxes, np.float32(0), np.float32(1)) if self.p.clip else boxes

        return self._lower_detect(g, conf, prior, scores, decode)


@layer(
    "DetectionOutput",
    fork="synopsys-caffe",
    fields=("no_permute",),
    param="detection_output_param",
    bottoms=(3, None),
)
class UnpermutedDetectionOutput(DetectionOutput):
    """SSD's detections of nbottom maps of scores, nbottom maps of locations, and all priors.

    A map of scores is (1, classes, boxes of a cell, cells), one of locations (1, 4 times the boxes
    of a cell, height, width).

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/detection_output_layer.cpp
    Refused: several images, of which the fork reads the first; share_location: false.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        count = self.p.nbottom
        if len(x) != 2 * count + 1:
            raise ShapeError(
                f"nbottom {count} wants {2 * count + 1} bottoms, and there are {len(x)}"
            )
        if not self.p.share_location:
            raise UnsupportedError("needs share_location")
        for conf, loc in zip(x[:count], x[count:-1], strict=True):
            if conf[:1] != (1,):
                raise UnsupportedError(f"takes a single image, and has scores of {conf}")
            cells = loc[2] * loc[3] if len(loc) == 4 else 0
            if conf != (1, self.p.num_classes, loc[1] // 4, cells) or loc[1] % 4:
                raise ShapeError(f"{self.p.num_classes} classes do not fit {conf} and {loc}")
        boxes = sum(conf[2] * conf[3] for conf in x[:count])
        return super().shapes((1, 4 * boxes), (1, self.p.num_classes * boxes), x[-1])

    def forward(self, *x: Array) -> Array:
        count = self.p.nbottom
        scores = [conf.transpose(0, 3, 2, 1).reshape(1, -1) for conf in x[:count]]
        boxes = [loc.transpose(0, 2, 3, 1).reshape(1, -1) for loc in x[count:-1]]
        return super().forward(np.hstack(boxes), np.hstack(scores), x[-1])

    def lower(self, g: Builder, *x: str) -> str:
        count, classes = self.p.nbottom, self.p.num_classes
        scores = [g.Flatten(g.Transpose(n, perm=[0, 3, 2, 1]), axis=1) for n in x[:count]]
        boxes = [g.Flatten(g.Transpose(n, perm=[0, 2, 3, 1]), axis=1) for n in x[count:-1]]
        loc, conf = (g.Concat(*parts, axis=1) for parts in (boxes, scores))
        total = g.fixed(x[-1], 2) // 4
        g.values[loc], g.values[conf] = (1, 4 * total), (1, classes * total)
        return super().lower(g, loc, conf, x[-1])
