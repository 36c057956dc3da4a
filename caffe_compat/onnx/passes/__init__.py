"""Passes over a lowered graph, `Lowered -> Lowered`, one a file.

Those in `STANDARD` are part of every conversion. The others are for one reader of the model
(`opencv`, `cpu`) or one use of it (`bake`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..lowering import Lowered
from .batchnorm import fuse_scales
from .constants import fold_constants
from .defaults import open_constants
from .detections import shrink_variances
from .logarithms import join_logarithms

Pass: TypeAlias = Callable[[Lowered], Lowered]

STANDARD: tuple[Pass, ...] = (
    fold_constants,
    shrink_variances,
    fuse_scales,
    join_logarithms,
    open_constants,
)


def simplify(lowered: Lowered, passes: Sequence[Pass] = STANDARD) -> Lowered:
    """Return the model after each of the passes in order."""
    for each in passes:
        lowered = each(lowered)
    return lowered
