"""The Python layers that make boxes in the nets of CTPN and SSH."""

from __future__ import annotations

import re

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import python_layer
from .faster_rcnn import ProposalLayer

_HEIGHTS = (11, 16, 23, 33, 48, 68, 97, 139, 198, 283)  # the anchors', each 16 pixels wide


@python_layer("layers.text_proposal_layer", "ProposalLayer", fork="CTPN", bottoms=3, tops=2)
class TextProposals(Layer):
    """Boxes of ten anchors at each place, moved and stretched along y alone, and their scores.

    The bottoms are the scores of 20 channels (background, then text), 20 corrections and im_info
    (height, width). Boxes are cut at the image's edge, and none is left out (Tian et al. 2016).

    From: tianzhi0549/CTPN, src/layers/text_proposal_layer.py and src/anchor.py
    Refused: several images; a height or width that may vary in ONNX.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        stride = re.fullmatch(r"\W*feat_stride\W*:\s*(\d+)\W*", self.p.param_str)
        if not stride:
            raise ShapeError(f"param_str {self.p.param_str!r} is not of the form 'feat_stride': 16")
        self._stride = int(stride[1])

    def shapes(self, scores: Shape, deltas: Shape, info: Shape) -> list[Shape | None]:
        if scores[:1] != (1,):
            raise UnsupportedError(f"takes a single image, and has scores of {scores}")
        if len(scores) != 4 or scores[1] != 20 or deltas != scores or int(np.prod(info)) < 2:
            raise ShapeError(
                f"needs scores and corrections of 20 channels, and an im_info: {scores}, {deltas}, "
                f"{info}"
            )
        rows = scores[2] * scores[3] * len(_HEIGHTS)
        return [(rows, 4), (rows, 1)]

    def _anchors(self, height: int, width: int) -> Array:
        """Return the anchors at every place, (places times 10, 4)."""
        y, x = np.indices((height, width)) * self._stride
        tall = np.array(_HEIGHTS) // 2
        above, below = np.trunc(7.5 - tall), np.trunc(7.5 + tall)
        ends = (np.zeros_like(above), above, np.full_like(above, 15), below)
        shift = np.stack([x, y, x, y], axis=2)[:, :, None]
        return np.asarray((shift + np.stack(ends, axis=1)).reshape(-1, 4), np.float32)

    def forward(self, scores: Array, deltas: Array, info: Array) -> tuple[Array, Array]:
        anchors = self._anchors(*scores.shape[2:])
        first, last = anchors[:, 1], anchors[:, 3]
        moves = deltas.transpose(0, 2, 3, 1).reshape(-1, 2)
        size = np.exp(moves[:, 1]) * (last - first + 1)
        top = moves[:, 0] * (last - first + 1) + (first + last) / np.float32(2)
        top = top - size / np.float32(2)
        boxes = np.stack([anchors[:, 0], top, anchors[:, 2], top + size], axis=1)
        bounds = info.ravel()[[1, 0, 1, 0]] - 1
        ranks = scores[:, len(_HEIGHTS) :].transpose(0, 2, 3, 1).reshape(-1, 1)
        return np.maximum(np.minimum(boxes, bounds), np.float32(0)), ranks

    def lower(self, g: Builder, scores: str, deltas: str, info: str) -> tuple[str, str]:
        anchors = self._anchors(g.fixed(scores, 2), g.fixed(scores, 3))
        first, last = anchors[:, 1:2], anchors[:, 3:]
        extent = last - first + 1
        moves = g.Reshape(g.Transpose(deltas, perm=[0, 2, 3, 1]), int64(-1, 2))
        move, growth = g.Split(moves, int64(1, 1), axis=1, outputs=2)
        size = g.Mul(g.Exp(growth), extent)
        top = g.Add(g.Mul(move, extent), (first + last) / np.float32(2))
        top = g.Sub(top, g.Mul(size, np.float32(0.5)))
        boxes = g.Concat(anchors[:, :1], top, anchors[:, 2:3], g.Add(top, size), axis=1)
        bounds = g.Gather(g.Reshape(info, int64(-1)), int64(1, 0, 1, 0))
        boxes = g.Max(g.Min(boxes, g.Sub(bounds, np.float32(1))), np.float32(0))
        texts = g.Slice(scores, int64(len(_HEIGHTS)), int64(2 * len(_HEIGHTS)), int64(1))
        return boxes, g.Reshape(g.Transpose(texts, perm=[0, 2, 3, 1]), int64(-1, 1))


# SSH/configs/default_config.yml; in TEST no box overlaps another by more than all of it.
_TEST = {"pre_nms_topn": 1000, "post_nms_topn": 1000, "nms_thresh": 1.0, "min_size": 0}
_TRAIN = {"pre_nms_topn": 1000, "post_nms_topn": 300, "nms_thresh": 0.3, "min_size": 4}


@python_layer("SSH.layers.proposal_layer", "ProposalLayer", fork="SSH", bottoms=3, tops=(1, 2))
class ModuleProposals(ProposalLayer):
    """The best boxes of one of SSH's modules, as py-faster-rcnn's proposals, overlapping or not.

    The numbers are cfg.TEST's: the 1000 best of any size. In TRAIN they are cfg.TRAIN's: of the
    1000 best of 4 pixels or more, 300 that overlap by no more than 0.3 (Najibi et al. 2017).

    From: mahyarnajibi/SSH, SSH/layers/proposal_layer.py and SSH/configs/default_config.yml
    Refused: several images, and other settings.
    """

    constants = ({"base_size": 16, **_TEST}, {"base_size": 16, **_TRAIN})
