"""The numpy reference on a batch whose rows repeat, at the cost of two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers.layer import Arrays, Layer
from ..net.net import Net
from ..types import AnyArray, Array

_DIFFERENT = 2  # so that a model that mixes up rows is noticed

# The layers that take nearly all the time, and compute each row by itself.
_BY_ROW = ("Convolution", "Deconvolution", "InnerProduct", "LRN", "Pooling")


class RepeatingNet(Net):
    """A net that computes a row once if its bottoms repeat it; other layers see the whole batch."""

    def compute(self, layer: Layer, x: list[Array], arrays: Mapping[str, Any]) -> Arrays:
        """Return the tops' values."""
        by_row = layer.proto.type in _BY_ROW and getattr(layer.p, "axis", 1) > 0
        if not (by_row and len(x) == 1 and _repeats(x[0])):
            return super().compute(layer, x, arrays)
        tops = super().compute(layer, [x[0][:_DIFFERENT]], arrays)
        rows = _places(len(x[0]))
        return tuple(top[rows] for top in tops) if isinstance(tops, tuple) else tops[rows]


def repeat_rows(feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return inputs of which all rows but the first repeat the second."""
    return {name: x[_places(len(x))] if x.ndim else x for name, x in feeds.items()}


def _places(count: int) -> AnyArray:
    return np.minimum(np.arange(count), _DIFFERENT - 1)


def _repeats(x: Array) -> bool:
    return len(x) > _DIFFERENT and bool((x[_DIFFERENT:] == x[_DIFFERENT - 1]).all())
