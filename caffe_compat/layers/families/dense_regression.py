"""The Python layers of DenseReg, which add a place within a part to the part's number."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import python_layer


@python_layer("CombineRegressions", "CombineRegressionsLayer", fork="DenseReg", bottoms=4, tops=2)
class CombineRegressions(Layer):
    """(part + rest - 1) / (parts - 1) where that is not negative, else -1, along x and along y.

    The bottoms are each pixel's part along x and along y, and for each part a map of the rest; part
    0 is the background (Guler et al. 2017).

    From: ralpguler/DenseReg, CombineRegressions.py
    Refused: several images, as in the fork.
    """

    def shapes(self, x: Shape, y: Shape, *rest: Shape) -> list[Shape | None]:
        parts = rest[0][1:2]
        wanted = (1, *parts, *x[2:])
        if len(x) != 4 or x[:2] != (1, 1) or y != x or any(each != wanted for each in rest):
            shapes = ", ".join(map(str, (x, y, *rest)))
            raise ShapeError(f"needs the parts of one image and a map for each part: {shapes}")
        if rest[0][1] < 2:
            raise ShapeError(f"needs two parts or more, and has {rest[0][1]}")
        return [x, x]

    def _place(self, part: Array, rest: Array, parts: int) -> Array:
        """Return the place of each pixel, of its part and of the rest."""
        place = (part + rest - 1) / (parts - 1)
        return np.where(place < 0, -1, place)

    def forward(self, x: Array, y: Array, *rest: Array) -> tuple[Array, ...]:
        tops = []
        for part, maps in zip((x, y), rest, strict=True):
            parts = np.arange(maps.shape[1]).reshape(1, -1, 1, 1)
            own = (part == parts) & (parts > 0)
            total = np.where(own, maps, 0).sum(1, keepdims=True, dtype=np.float64)
            place = self._place(part.astype(np.float64), total, maps.shape[1])
            tops.append(np.asarray(place, np.float32))
        return tuple(tops)

    def lower(self, g: Builder, x: str, y: str, *rest: str) -> tuple[str, ...]:
        tops = []
        for part, maps in zip((x, y), rest, strict=True):
            count = g.fixed(maps, 1)
            parts = np.arange(count, dtype=np.float32).reshape(1, -1, 1, 1)
            parts[0, 0] = -1  # nothing is added to the background
            own = g.Where(g.Equal(part, parts), maps, np.float32(0))
            tops.append(self._lower_place(g, part, g.ReduceSum(own, int64(1)), count))
        return tuple(tops)

    def _lower_place(self, g: Builder, part: str, rest: str, parts: int) -> str:
        place = g.Sub(g.Add(part, rest), np.float32(1))
        place = g.Div(place, np.float32(parts - 1))
        return g.Where(g.Less(place, np.float32(0)), np.float32(-1), place)


@python_layer(
    "CombineRegressionsHuman", "CombineRegressionsLayer", fork="DenseReg", bottoms=4, tops=2
)
class CombineRegressionsHuman(CombineRegressions):
    """The map of each pixel's part, from 0 to 1; 0 in the background.

    From: ralpguler/DenseReg, CombineRegressionsHuman.py
    Refused: several images, as in the fork.
    """

    def _place(self, part: Array, rest: Array, parts: int) -> Array:
        return np.clip(rest, 0, 1)

    def _lower_place(self, g: Builder, part: str, rest: str, parts: int) -> str:
        return g.Clip(rest, np.float32(0), np.float32(1))
