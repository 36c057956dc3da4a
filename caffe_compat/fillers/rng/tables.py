"""The layers of Boost's ziggurats, computed; they equal its literals to the last bit.

Source: Marsaglia and Tsang, "The ziggurat method for generating random variables", 2000;
boost/random/normal_distribution.hpp and exponential_distribution.hpp.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# The starts of the tails, such that the layers have equal areas and the last one ends in 0; for the
# normal also that area (the exponential's is (end + 1) * exp(-end)).
_NORMAL_END = Decimal("3.44261985589665212142432049146733970434")
_NORMAL_AREA = Decimal("0.00991256303533646107908569530581016220")
_EXPONENTIAL_END = Decimal("7.69711747013104971404462804801521549911")


@dataclass(frozen=True)
class Table:
    """The edges `x` of the layers, falling to 0, and the density `y` there, 0 first, up to 1."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]

    @functools.cached_property
    def edge(self) -> Floats:
        """float32 `x`."""
        return self.x.astype(np.float32)

    @functools.cached_property
    def low(self) -> Floats:
        """float32 `y`."""
        return self.y.astype(np.float32)

    @functools.cached_property
    def width(self) -> Floats:
        """The decrease in width of each layer, rounded after the subtraction."""
        return (self.x[:-1] - self.x[1:]).astype(np.float32)

    @functools.cached_property
    def height(self) -> Floats:
        """The height of each layer, rounded after the subtraction."""
        return (self.y[1:] - self.y[:-1]).astype(np.float32)


def _table(edges: list[Decimal], heights: list[Decimal]) -> Table:
    return Table(np.array([*map(float, edges), 0.0]), np.array([*map(float, heights), 1.0]))


@functools.cache
def normal_table() -> Table:
    """Return exp(-x²/2) in 128 layers, equal to Boost's literals to the last bit."""
    with localcontext() as context:
        context.prec = 36
        end, area = _NORMAL_END, _NORMAL_AREA
        heights = [Decimal(0), (-end * end / 2).exp()]
        edges = [area / heights[1], end]
        while len(edges) < 128:
            heights.append(area / edges[-1] + heights[-1])
            edges.append((-2 * heights[-1].ln()).sqrt())
    return _table(edges, heights)


@functools.cache
def exponential_table() -> Table:
    """Return exp(-x) in 256 layers, equal to Boost's literals to the last bit."""
    with localcontext() as context:
        context.prec = 36
        end = _EXPONENTIAL_END
        heights = [Decimal(0), (-end).exp()]
        area = (end + 1) * heights[1]
        edges = [end + 1, end]
        while len(edges) < 256:
            heights.append(area / edges[-1] + heights[-1])
            edges.append(-heights[-1].ln())
    return _table(edges, heights)
