"""The arrays that a caller feeds to a net's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..types import AnyArray


def by_name(feeds: Any, inputs: Sequence[str]) -> Mapping[str, Any]:
    """Return feeds by their inputs' names; the only input's may come as a bare array.

    Raises:
        ShapeError: the net has no input or several, and the feeds no names.
    """
    if isinstance(feeds, Mapping):
        return feeds
    if len(inputs) == 1:
        return {inputs[0]: feeds}
    names = ", ".join(inputs) or "none"
    raise ShapeError(
        f"was fed a {type(feeds).__name__}; it takes arrays by name, as "
        f'{{"{inputs[0] if inputs else "data"}": array}}; its inputs: {names}',
        remedies=("feeds",),
    )


def as_array(name: str, value: Any) -> AnyArray:
    """Return what an input was fed as an array of real numbers; a list of numbers is one, too.

    Raises:
        ShapeError: it is none.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"input '{name}' was not fed an array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"input '{name}' takes real numbers, and was fed {array.dtype}")
    return array
