"""The distance of a converted model from its float32 original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layers.boxes import overlaps
from .outputs import is_detection, scores
from .session import Session

Feeds = Mapping[str, NDArray[Any]]


_OVERLAP = 0.5  # intersection over union from which two boxes are of one thing (PASCAL VOC)


@dataclass(frozen=True)
class Parity:
    """How far a model is from the float32 model that it was made from.

    Attributes:
        largest: for each output the largest difference, as a share of its largest value; of
            detections, whose order a rounding changes, between those found again.
        same: how many of the best classes are the same, of how many; None if no output is a
            classification.
        found: how many detections are found again, of how many; None if no output holds any.
    """

    largest: Mapping[str, float]
    same: tuple[int, int] | None
    found: tuple[int, int] | None

    def __str__(self) -> str:
        """One line."""
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.largest.items())
        line = f"parity with float32, largest difference as a share of the largest value: {each}"
        if self.same is not None:
            line += f"; same best class {self.same[0]} of {self.same[1]} times"
        if self.found is not None:
            line += f"; {self.found[0]} of {self.found[1]} boxes found again"
        return line


def compare(reference: Session, session: Session, feeds: Sequence[Feeds]) -> Parity:
    """Run both on the feeds, and say how far the second is from the first."""
    worst: dict[str, float] = {}
    largest: dict[str, float] = {}
    same, found = [0, 0], [0, 0]
    for feed in feeds:
        wanted, made = reference.run(feed), session.run(feed)
        for name, want in wanted.items():
            other = made[name]
            if is_detection(want.shape):
                boxes = int((want[0, 0, :, 1] >= 0).sum())
                want, other = _found_again(want[0, 0], other[0, 0])
                found[0] += len(want)
                found[1] += boxes
            elif want.ndim > 1:
                rows = [(w, o) for w, o in zip(want, other, strict=True) if scores(w) is not None]
                same[0] += sum(int(np.argmax(w) == np.argmax(o)) for w, o in rows)
                same[1] += len(rows)
            difference = np.abs(want.astype(np.float64) - other)
            worst[name] = max(worst.get(name, 0.0), _greatest(difference))
            largest[name] = max(largest.get(name, 0.0), float(np.abs(want).max(initial=0)))
    tiny = float(np.finfo(np.float32).tiny)
    shares = {name: worst[name] / max(largest[name], tiny) for name in worst}
    return Parity(shares, *((n[0], n[1]) if n[1] else None for n in (same, found)))


def _found_again(rows: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores and boxes of the detections that both have, in the same order.

    Found again is what has the same image and label and overlaps by half, each taken once.
    """
    left = list(range(len(others)))
    pairs = []
    for i in np.flatnonzero(rows[:, 1] >= 0):
        alike = [j for j in left if (others[j, :2] == rows[i, :2]).all()]
        shares = overlaps(rows[i, 3:], others[alike, 3:])
        if len(alike) and shares.max() >= _OVERLAP:
            left.remove(alike[int(shares.argmax())])
            pairs.append((i, alike[int(shares.argmax())]))
    ours, theirs = np.array(pairs, np.int64).reshape(-1, 2).T
    return rows[ours, 2:], others[theirs, 2:]


def _greatest(difference: NDArray[Any]) -> float:
    """The largest value; NaN counts as endless."""
    value = float(difference.max(initial=0))
    return float("inf") if np.isnan(value) else value
