"""The distance of a changed model from its float32 original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..layers.boxes import overlaps
from ..types import AnyArray
from .calibration import Feeds
from .outputs import is_detection, scores
from .session import Session

_OVERLAP = 0.5  # intersection over union from which two boxes are of one object (PASCAL VOC)


@dataclass(frozen=True)
class Parity:
    """The distance of a model from the float32 model that it comes from.

    Attributes:
        largest: for each output the largest difference, relative to its largest value; of
            detections, whose order rounding changes, among those that match.
        same: how often the best class is the same, and of how many; None if no output is a
            classification.
        matched: how many detections match, and of how many; None if there are none.
    """

    largest: Mapping[str, float]
    same: tuple[int, int] | None
    matched: tuple[int, int] | None

    def __str__(self) -> str:
        """Return one line."""
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.largest.items())
        line = f"parity with float32, largest difference relative to the largest value: {each}"
        if self.same is not None:
            line += f"; same best class {self.same[0]} of {self.same[1]} times"
        if self.matched is not None:
            line += f"; {self.matched[0]} of {self.matched[1]} boxes match"
        return line


def measure_parity(reference: Session, session: Session, feeds: Sequence[Feeds]) -> Parity:
    """Run two models on the same feeds and return the second's distance from the first."""
    errors: dict[str, float] = {}
    largest: dict[str, float] = {}
    same, matched = [0, 0], [0, 0]
    for feed in feeds:
        wanted, outputs = reference.run(feed), session.run(feed)
        for name, want in wanted.items():
            other = outputs[name]
            if is_detection(want.shape):
                boxes = int((want[0, 0, :, 1] >= 0).sum())
                want, other = _match(want[0, 0], other[0, 0])
                matched[0] += len(want)
                matched[1] += boxes
            elif want.ndim > 1:
                rows = [(w, o) for w, o in zip(want, other, strict=True) if scores(w) is not None]
                same[0] += sum(int(np.argmax(w) == np.argmax(o)) for w, o in rows)
                same[1] += len(rows)
            difference = np.abs(want.astype(np.float64) - other)
            errors[name] = max(errors.get(name, 0.0), _max(difference))
            largest[name] = max(largest.get(name, 0.0), float(np.abs(want).max(initial=0)))
    tiny = float(np.finfo(np.float32).tiny)
    relative = {name: errors[name] / max(largest[name], tiny) for name in errors}
    return Parity(relative, *((n[0], n[1]) if n[1] else None for n in (same, matched)))


def _match(rows: AnyArray, others: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return scores and boxes of the detections that both have, in the same order.

    Two match if image and label are the same and the boxes overlap by half; each matches once.
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


def _max(difference: AnyArray) -> float:
    """Return the largest value; NaN counts as infinite."""
    value = float(difference.max(initial=0))
    return float("inf") if np.isnan(value) else value
