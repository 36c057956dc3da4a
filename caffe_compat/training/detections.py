"""The mean average precision of detections over a test, as SSD's solver logs it.

From: weiliu89/caffe, branch ssd, solver.cpp (TestDetection) and bbox_util.cpp (ComputeAP).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from ..errors import ShapeError
from ..types import Array

_EPS = np.float32(1e-6)  # recalls no further apart are one


class Detections:
    """The rows of DetectionEvaluate, from all batches of a test, by output and label."""

    def __init__(self) -> None:
        self._positives: dict[str, dict[int, int]] = {}
        self._rows: dict[str, dict[int, list[Array]]] = {}

    def add(self, outputs: Mapping[str, Array]) -> None:
        """Add the outputs of a pass.

        Raises:
            ShapeError: an output has not five numbers in a row.
        """
        for name, array in outputs.items():
            if array.shape[-1:] != (5,):
                raise ShapeError(
                    f"eval_type 'detection' wants rows of five numbers, as DetectionEvaluate has "
                    f"them; the output '{name}' is {array.shape}"
                )
            positives = self._positives.setdefault(name, defaultdict(int))
            found = self._rows.setdefault(name, defaultdict(list))
            for row in array.reshape(-1, 5):
                image, label = int(row[0]), int(row[1])
                if image == -1:
                    positives[label] += int(row[2])
                elif row[3:].astype(np.int64).any():  # neither: a box too difficult to count
                    found[label].append(row[2:])

    def precisions(self, version: str) -> dict[str, dict[int, float | None]]:
        """Return the average precision of each label by output; None: it was never detected.

        An output without any detection is left out.

        Args:
            version: `ap_version`.
        """
        return {
            name: {
                label: average_precision(np.stack(found[label]), count, version)
                if label in found
                else None
                for label, count in sorted(self._positives[name].items())
            }
            for name, found in self._rows.items()
            if found and self._positives[name]
        }


def mean(precisions: Mapping[int, float | None]) -> Array:
    """Return the mean over all labels, summed in float32; of one never detected it is 0."""
    parts = [0.0 if each is None else each for each in precisions.values()]
    return np.asarray(_sum(np.array(parts, np.float32)) / np.float32(len(parts)), np.float32)


def average_precision(rows: Array, positives: int, version: str) -> float:
    """Return the average precision of a label's detections.

    Args:
        rows: score, true and false of each, (detections, 3).
        positives: the number of boxes to detect.
        version: `11point`, `MaxIntegral` or `Integral`.
    """
    if not positives:
        return 0.0
    order = np.argsort(-rows[:, 0], kind="stable")
    true, false = np.cumsum(rows[order, 1:], axis=0, dtype=np.int64).T
    precision = true.astype(np.float32) / (true + false).astype(np.float32)
    recall = true.astype(np.float32) / np.float32(positives)
    return float(VERSIONS[version](precision, recall))


def _eleven_points(precision: Array, recall: Array) -> np.float32:
    """Return the mean over 11 recalls of the largest precision at that recall or above.

    As in SSD's code, from the first recall on that every detection reaches, the precisions beyond
    the last one looked at are left out.
    """
    largest, last = np.zeros(11, np.float32), len(recall) - 1
    for step in range(10, -1, -1):
        below = np.flatnonzero(recall[: last + 1].astype(np.float64) < step / 10.0)
        first = below[-1] + 1 if len(below) else 0
        largest[step] = precision[first : last + 1].max(initial=largest[step])
        if len(below):
            last = below[-1]
            largest[max(step - 1, 0)] = largest[step]
    return _sum((largest / np.float32(11))[::-1])


def _largest_integral(precision: Array, recall: Array) -> np.float32:
    """Return the integral over the recall of the largest precision at its lower end or above."""
    largest, steps = np.maximum.accumulate(precision[::-1]), np.abs(np.diff(recall))[::-1]
    parts = (largest[1:] * steps)[steps > _EPS]
    return _sum(np.append(parts, recall[0] * largest[-1]))


def _integral(precision: Array, recall: Array) -> np.float32:
    """Return the integral of the precision over the recall."""
    steps = np.abs(np.diff(recall, prepend=np.float32(0)))
    return _sum((precision * steps)[steps > _EPS])


def _sum(parts: Array) -> np.float32:
    """Return a sum as C++ adds it up, term by term in float32."""
    return np.float32(np.cumsum(parts, dtype=np.float32)[-1]) if len(parts) else np.float32(0)


VERSIONS: dict[str, Callable[[Array, Array], np.float32]] = {
    "11point": _eleven_points,
    "MaxIntegral": _largest_integral,
    "Integral": _integral,
}
"""How `ap_version` sums up precisions over recalls; both are (detections,), by falling score."""
