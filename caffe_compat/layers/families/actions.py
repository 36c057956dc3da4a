"""The actions of detected people, of OpenVINO's training toolbox."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ParseError, ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import FLOAT, INT64, Builder, int64
from ..layer import Layer
from ..registry import python_layer

_COLUMNS = (7, 0, 9, 8)  # a row's anchor, image, row and column


@python_layer(
    "caffe.custom_layers.actions_detection_output_layer",
    "ActionsDetectionOutputLayer",
    fork="training_toolbox_caffe",
    bottoms=(2, None),
)
class ActionsDetectionOutput(Layer):
    """Rows of DetectionOutputExtended with the best action of each one's anchor and cell.

    Bottoms: the rows, and of each anchor the actions' scores (N, H, W, actions). Rows of the top:
    image, action, score, the action's score, xmin, ymin, xmax, ymax. A row of no detection, of -1,
    reads the last anchor's last cell, as Python indexes.

    From: openvinotoolkit/training_toolbox_caffe,
        caffe/python/caffe/custom_layers/actions_detection_output_layer.py
    Refused: use_nms.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        settings = _settings(self.p.param_str)
        if settings.get("use_nms"):
            raise UnsupportedError("use_nms, by which boxes vote for an action, is not supported")
        if settings.get("num_anchors") != len(proto.bottom) - 1:
            raise ShapeError(
                f"has num_anchors {settings.get('num_anchors')} and {len(proto.bottom) - 1} "
                "bottoms of scores"
            )

    def shapes(self, rows: Shape, *scores: Shape) -> list[Shape | None]:
        if len(rows) != 4 or rows[3] != 10:
            raise ShapeError(f"needs rows of 10 numbers, and has {rows}")
        if len(scores[0]) != 4 or len(set(scores)) != 1:
            raise ShapeError(f"needs scores (N, H, W, actions), all alike, and has {scores}")
        return [(1, 1, rows[2], 8)]

    def forward(self, rows: Array, *scores: Array) -> Array:
        rows = rows.reshape(-1, 10)
        own = np.stack(scores)[tuple(rows[:, _COLUMNS].astype(np.int64).T)]
        labels = own.argmax(axis=1).astype(np.float32)
        columns = [rows[:, 0], labels, rows[:, 2], own.max(axis=1), *rows[:, 3:7].T]
        return np.stack(columns, axis=1)[None, None]

    def lower(self, g: Builder, rows: str, *scores: str) -> str:
        rows = g.Reshape(rows, int64(-1, 10))
        every = g.Concat(*(g.Unsqueeze(score, int64(0)) for score in scores), axis=0)
        places = g.Cast(g.Gather(rows, int64(*_COLUMNS), axis=1), to=INT64)
        own = g.GatherND(every, places)
        label = g.Cast(g.ArgMax(own, axis=1), to=FLOAT)
        image, _, score, corners, _ = g.Split(rows, int64(1, 1, 1, 4, 3), axis=1, outputs=5)
        columns = [image, label, score, g.ReduceMax(own, int64(1)), corners]
        return g.Unsqueeze(g.Concat(*columns, axis=1), int64(0, 1))


def _settings(text: str) -> dict[str, Any]:
    """Return the settings of a param_str, a Python mapping of plain values."""
    try:
        settings = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ParseError(f"param_str {text!r} is not of the form {{'num_anchors': 4}}")
    return settings
