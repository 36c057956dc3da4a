"""The Python layers of MNC that a net needs in TEST."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import python_layer
from .faster_rcnn import ProposalLayer

_MASK_SIZE = 21  # cfg.MASK_SIZE of lib/mnc_config.py


def _check_phase(layer: Layer) -> None:
    if layer.train:
        raise UnsupportedError(
            "compares with the truth in TRAIN, for MNC's own losses; only TEST is supported"
        )


@python_layer("pylayer.proposal_layer", "ProposalLayer", fork="MNC", bottoms=3)
class StageProposals(ProposalLayer):
    """The proposals of MNC, as py-faster-rcnn's.

    gradient_scale, use_clip and clip_base change gradients alone.

    From: daijifeng001/MNC, lib/pylayer/proposal_layer.py
    Refused: several images, other settings, and TRAIN, with a second top for MNC's own layers.
    """

    unused = ("gradient_scale", "use_clip", "clip_base")

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_phase(self)


@python_layer("pylayer.mask_layer", "MaskLayer", fork="MNC", bottoms=1)
class StageMasks(Layer):
    """The masks of regions, (R, 441), as images (R, 1, 21, 21).

    From: daijifeng001/MNC, lib/pylayer/mask_layer.py
    Refused: TRAIN, where it compares the masks with the truth.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_phase(self)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if int(np.prod(x[1:])) != _MASK_SIZE**2:
            raise ShapeError(f"needs masks of {_MASK_SIZE} x {_MASK_SIZE}, and has {x}")
        return [(x[0], 1, _MASK_SIZE, _MASK_SIZE)]

    def forward(self, x: Array) -> Array:
        return x.reshape(-1, 1, _MASK_SIZE, _MASK_SIZE)

    def lower(self, g: Builder, x: str) -> str:
        return g.Reshape(x, int64(-1, 1, _MASK_SIZE, _MASK_SIZE))


@python_layer("pylayer.stage_bridge_layer", "StageBridgeLayer", fork="MNC", bottoms=4)
class StageBridge(Layer):
    """Regions corrected by the deltas of their best class, within the image.

    Bottoms: regions (R, 5), deltas (R, 4 K), scores (R, K) and im_info (1, height, width, ...).
    Only one image is meant: the first column is 0.

    From: daijifeng001/MNC, lib/pylayer/stage_bridge_layer.py
    Refused: TRAIN, where it samples targets.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_phase(self)

    def shapes(self, rois: Shape, deltas: Shape, scores: Shape, info: Shape) -> list[Shape | None]:
        count, classes = rois[0], scores[-1]
        if [rois, deltas, scores] != [(count, 5), (count, 4 * classes), (count, classes)]:
            raise ShapeError(
                "needs regions (R, 5), deltas (R, 4 K) and scores (R, K), and has "
                f"{rois}, {deltas} and {scores}"
            )
        if len(info) != 2 or info[1] < 2:
            raise ShapeError(f"im_info must be (1, height, width, ...), and is {info}")
        return [rois]

    def forward(self, rois: Array, deltas: Array, scores: Array, info: Array) -> Array:
        best = deltas.reshape(*scores.shape, 4)[np.arange(len(rois)), scores.argmax(axis=1)]
        size = rois[:, 3:] - rois[:, 1:3] + 1
        centre = best[:, :2] * size + (rois[:, 1:3] + np.float32(0.5) * size)
        half = np.float32(0.5) * (np.exp(best[:, 2:]) * size)
        most = info[0, [1, 0, 1, 0]] - 1
        corners = np.hstack([centre - half, centre + half])
        return np.hstack([0 * rois[:, :1], np.maximum(np.minimum(corners, most), 0)])

    def lower(self, g: Builder, rois: str, deltas: str, scores: str, info: str) -> str:
        classes, half = g.fixed(scores, 1), np.float32(0.5)
        label = g.ArgMax(scores, axis=1, keepdims=1)
        each = g.Reshape(deltas, int64(-1, classes, 4))
        best = g.GatherND(each, label, batch_dims=1)
        shift, growth = g.Split(best, int64(2, 2), axis=1, outputs=2)
        image, first, last = g.Split(rois, int64(1, 2, 2), axis=1, outputs=3)
        size = g.Add(g.Sub(last, first), np.float32(1))
        centre = g.Add(g.Mul(shift, size), g.Add(first, g.Mul(size, half)))
        reach = g.Mul(g.Mul(g.Exp(growth), size), half)
        most = g.Gather(g.Reshape(info, int64(-1)), int64(1, 0, 1, 0))
        corners = g.Concat(g.Sub(centre, reach), g.Add(centre, reach), axis=1)
        corners = g.Max(g.Min(corners, g.Sub(most, np.float32(1))), np.float32(0))
        return g.Concat(g.Mul(image, np.float32(0)), corners, axis=1)
