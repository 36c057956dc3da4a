"""From a net's outputs for an image to classes with labels, detections, and counts of NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import files
from ..errors import ParseError, ShapeError
from ..types import AnyArray, Dims
from .predictor import Result

_MAX = 1 << 25  # bytes of a file of labels


@dataclass(frozen=True)
class Class:
    """A class of a classifier: its index, its label (None without labels) and its score."""

    index: int
    label: str | None
    score: float


@dataclass(frozen=True)
class Detection:
    """An object that a detector reports.

    Attributes:
        index: the class.
        label: its label, None without labels.
        score: the net's confidence.
        box: left, top, right, bottom, in pixels of the image as it was read.
    """

    index: int
    label: str | None
    score: float
    box: tuple[float, float, float, float]


def read_labels(path: str | Path) -> list[str]:
    """Read one label a line, as in synset_words.txt; blank lines at the end do not count.

    Args:
        path: a text file of any encoding; see `files.decode`.

    Raises:
        ParseError: the file is missing, empty, or no text.
    """
    data = files.read_bytes(path, _MAX)
    if b"\0" in data and not data.startswith(files.UTF16):
        raise ParseError(f"{path}: not a text file of labels")
    lines = files.decode(data).rstrip().splitlines()
    if not lines:
        raise ParseError(f"{path}: no labels in it")
    return [line.strip() for line in lines]


def count_classes(dims: Dims) -> int:
    """Return the number of classes of an output [N, C] or [N, C, 1, 1]; 0 of any other."""
    rest = [n or 0 for n in dims[1:]]
    return rest[0] if rest and rest[0] > 1 and math.prod(rest) == rest[0] else 0


def check_labels(labels: Sequence[str] | None, blob: str, count: int) -> None:
    """Refuse too few labels for the classes of a blob.

    Raises:
        ShapeError: there are fewer labels than classes.
    """
    if labels and len(labels) < count:
        raise ShapeError(
            f"{len(labels)} labels for the {count} classes of '{blob}'", remedies=("labels",)
        )


def top(array: AnyArray, count: int, labels: Sequence[str] | None = None) -> list[Class]:
    """Return the best classes by falling score; equal scores by index; NaN last.

    Args:
        array: the scores, [C].
        count: how many classes to return.
        labels: the classes' labels, as `check_labels` takes them.
    """
    order = np.argsort(-array, kind="stable")[:count]
    return [Class(int(i), labels[i] if labels else None, float(array[i])) for i in order]


def detections(
    result: Result, rows: AnyArray, threshold: float = 0, labels: Sequence[str] | None = None
) -> list[Detection]:
    """Return an image's detections in its own pixels, by falling score.

    Args:
        result: the image.
        rows: its rows of DetectionOutput, [N, 7]: image, class, score, and left, top, right and
            bottom relative to the part of the image that the net saw.
        threshold: the min score.
        labels: the classes' labels, the background's (usually 0) among them.

    Raises:
        ShapeError: there are fewer labels than classes.
    """
    results = []
    down, right, tall, wide = result.window
    height, width = result.size
    for _, kind, score, *box in rows[np.argsort(-rows[:, 2], kind="stable")].tolist():
        if not score >= threshold:
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
        results.append(Detection(index, labels[index] if labels else None, score, pixels))
    return results


def count_nan(outputs: Mapping[str, AnyArray]) -> dict[str, int]:
    """Return the number of NaN in each output that has any."""
    counts = {
        name: int(np.isnan(array).sum())
        for name, array in outputs.items()
        if np.issubdtype(array.dtype, np.floating)
    }
    return {name: count for name, count in counts.items() if count}


def finite(value: float) -> float | None:
    """Return a number as JSON has it: None for NaN and the infinities."""
    return value if math.isfinite(value) else None
