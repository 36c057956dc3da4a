"""Kinds of outputs: class scores, detections."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import AnyArray


def is_detection(shape: Sequence[int | None]) -> bool:
    """Return whether a shape is that of DetectionOutput, [1, 1, N, 7]."""
    return len(shape) == 4 and tuple(shape[:2]) == (1, 1) and shape[3] == 7


def scores(array: AnyArray) -> AnyArray | None:
    """Return one image's class scores, [C]; None if the output is no classification."""
    if array.ndim and array.shape[0] > 1 and array.size == array.shape[0]:
        return array.reshape(-1)
    return None
