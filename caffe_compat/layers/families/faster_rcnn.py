"""The Python layers of py-faster-rcnn that a net needs in TEST."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter, ProposalParameter
from ...errors import ParseError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Arrays, Layer
from ..registry import python_layer
from .proposal import Proposal

# cfg.TRAIN and cfg.TEST of lib/fast_rcnn/config.py.
_TRAIN = {"pre_nms_topn": 12000, "post_nms_topn": 2000, "nms_thresh": 0.7, "min_size": 16}
_TEST = {**_TRAIN, "pre_nms_topn": 6000, "post_nms_topn": 300}
_NAMES = {"scales": "scale", "ratios": "ratio"}

_PAIR = re.compile(
    r"""["']?(\w+)["']?\s*:\s*(?:!!python/tuple\s*)?([\[(][-\d.,\s]*[\])]|[-\w.]+)[\s,]*"""
)


@python_layer("rpn.proposal_layer", "ProposalLayer", fork="py-faster-rcnn", bottoms=3, tops=(1, 2))
class ProposalLayer(Proposal):
    """The proposals of py-faster-rcnn: pvanet's Proposal, without the boxes below min_size.

    feat_stride, scales and ratios are read from param_str. The other numbers are cfg.TEST's
    (cfg.TRAIN's in TRAIN): pre_nms_topn 6000 (12000), post_nms_topn 300 (2000), nms_thresh 0.7 and
    min_size 16. A setting of that name in param_str replaces each; py-faster-rcnn ignores it.

    From: rbgirshick/py-faster-rcnn, lib/rpn/proposal_layer.py and generate_anchors.py.
    From: YuwenXiong/py-R-FCN, the same files.
    Refused: several images, other settings, and all that Proposal's pvanet refuses.
    """

    unused: ClassVar[tuple[str, ...]] = ()
    """Settings of param_str that change no top."""
    constants: ClassVar[tuple[Mapping[str, Any], Mapping[str, Any]]] = (_TEST, _TRAIN)
    """The numbers of TEST and of TRAIN."""
    _least = np.finfo(np.float32).min

    def __init__(self, proto: LayerParameter) -> None:
        Layer.__init__(self, proto)
        self.p = _parameter(self.p.param_str, self.constants[self.train], self.unused)
        self._check()

    def shapes(self, scores: Shape, deltas: Shape, info: Shape) -> list[Shape | None]:
        if scores[:1] != (1,):
            raise UnsupportedError(f"takes a single image, and has scores of {scores}")
        rows, *rest = super().shapes(scores, deltas, info)
        return [rows, *((self.p.post_nms_topn, 1) for _ in rest)]

    def forward(self, scores: Array, deltas: Array, info: Array) -> Arrays:
        rows, *rest = super().forward(scores, deltas, info)
        return (rows, *(ranks[:, None] for ranks in rest))

    def lower(self, g: Builder, scores: str, deltas: str, info: str) -> tuple[str, ...]:
        rows, *rest = super().lower(g, scores, deltas, info)
        return (rows, *(g.Unsqueeze(ranks, int64(1)) for ranks in rest))

    def _rank(self, scores: Array, large: NDArray[np.bool_]) -> Array:
        return np.where(large, scores, np.float32(-np.inf))

    def _lower_rank(self, g: Builder, scores: str, large: str) -> str:
        return g.Where(g.Greater(large, np.float32(0)), scores, np.float32(-np.inf))

    def _lower_large(self, g: Builder, boxes: str, picture: str, info: str) -> str:
        scale = g.Gather(picture, int64(2))
        return self._lower_least(g, boxes, g.Mul(scale, np.float32(self.p.min_size)))

    def _scales(self, picture: Array) -> Array:
        return picture[[2, 2]]


def _parameter(
    text: str, constants: Mapping[str, Any], unused: Sequence[str] = ()
) -> ProposalParameter:
    """Return the settings of a param_str, which is YAML, over the constants.

    Those in `unused` are not read.

    Raises:
        ParseError: the text is of another form.
        UnsupportedError: it has a setting of another name.
    """
    plain = text.replace("\\'", "'").strip().removeprefix("{").removesuffix("}").strip()
    if _PAIR.sub("", plain):
        raise ParseError(f"param_str {text!r} is not of the form 'feat_stride': 16")
    p = ProposalParameter(**{"base_size": 16, **constants})
    settings = {"scales": "8 16 32", "ratios": "0.5 1 2", **dict(_PAIR.findall(plain))}
    for name, value in settings.items():
        if name in unused:
            continue
        if name not in (*_NAMES, "feat_stride", *constants):
            raise UnsupportedError(f"param_str has {name!r}, which py-faster-rcnn has not")
        numbers = [float(n) for n in re.findall(r"[-\d.]+", value)]
        if name in _NAMES:
            getattr(p, _NAMES[name]).extend(numbers)
        else:
            setattr(p, name, numbers[0] if name == "nms_thresh" else int(numbers[0]))
    return p
