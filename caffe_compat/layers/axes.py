"""Axes as a prototxt counts them."""

from __future__ import annotations

from ..errors import ShapeError


def canonical_axis(axis: int, rank: int) -> int:
    """Return an axis counted from 0, where negative ones count from the end (CanonicalAxisIndex).

    Raises:
        ShapeError: the axis is outside -rank..rank-1.
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} out of range for a {rank}-D blob")
    return axis % rank
