"""What a net's outputs say of a picture: classes with their labels, boxes, and NaNs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..errors import ParseError, ShapeError
from .predictor import Result

_MOST = 1 << 25  # bytes of a file of labels


@dataclass(frozen=True)
class Class:
    """A class of a classifier: its index, its label (None without labels) and its score."""

    index: int
    label: str | None
    score: float


@dataclass(frozen=True)
class Detection:
    """A box that a detector found.

    Attributes:
        index: the class.
        label: its label, None without labels.
        score: how sure the net is.
        box: left, top, right, bottom, in pixels of the picture as it was read.
    """

    index: int
    label: str | None
    score: float
    box: tuple[float, float, float, float]


def read_labels(path: str | Path) -> list[str]:
    """One label a line, as in synset_words.txt; blank lines at the end do not count.

    Raises:
        ParseError: the file is missing, empty, or not UTF-8 text.
    """
    try:
        lines = files.read_bytes(path, _MOST).decode("utf-8").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ParseError(f"{path}: not a text file of labels") from None
    if not lines:
        raise ParseError(f"{path}: no labels in it")
    return [line.strip() for line in lines]


def top(array: NDArray[Any], count: int, labels: Sequence[str] | None = None) -> list[Class]:
    """The best classes, best first; equal scores by index; NaNs last.

    Raises:
        ShapeError: there are fewer labels than classes.
    """
    if labels is not None and len(labels) < len(array):
        raise ShapeError(f"{len(labels)} labels for {len(array)} classes")
    order = np.argsort(-array, kind="stable")[:count]
    return [Class(int(i), labels[i] if labels else None, float(array[i])) for i in order]


def detections(
    result: Result, rows: NDArray[Any], least: float = 0, labels: Sequence[str] | None = None
) -> list[Detection]:
    """The boxes of one picture in its own pixels, best first.

    Args:
        result: the picture.
        rows: its rows of DetectionOutput: image, class, score, and left, top, right and bottom in
            shares of what the net saw.
        least: leaves out boxes of a lower score.
        labels: the classes', the background's (usually 0) among them.

    Raises:
        ShapeError: there are fewer labels than classes.
    """
    found = []
    down, right, tall, wide = result.window
    height, width = result.size
    for _, kind, score, *box in rows[np.argsort(-rows[:, 2], kind="stable")].tolist():
        if not score >= least:
            continue
        index = int(kind)
        if labels is not None and index >= len(labels):
            raise ShapeError(f"{len(labels)} labels, and a detection of class {index}")
        left, upper, end, lower = box
        pixels = (
            (right + left * wide) * width,
            (down + upper * tall) * height,
            (right + end * wide) * width,
            (down + lower * tall) * height,
        )
        found.append(Detection(index, labels[index] if labels else None, score, pixels))
    return found


def unusual(outputs: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """How many NaNs each output holds, for those that hold any."""
    counts = {
        name: int(np.isnan(array).sum())
        for name, array in outputs.items()
        if np.issubdtype(array.dtype, np.floating)
    }
    return {name: count for name, count in counts.items() if count}


def plain(value: float) -> float | None:
    """A number as JSON can say it: None for NaN and the infinities."""
    return value if math.isfinite(value) else None
