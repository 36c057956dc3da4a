"""Large weights, whose gradient is used row by row as it is computed, and never there as a whole.

A gradient as large as its weight takes the memory of the weight, and a pass over that memory for
each thing that is done with it. A product's gradient dy^T x is computed as well in blocks of rows;
a rule that works on each number by itself can update a block at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, Protocol

from ..net.graph import Graph
from ..net.sharing import Place
from ..types import Shape

_LARGE = 1 << 21  # numbers of a weight that is worth it
_BLOCK = 1 << 19  # numbers of a block


class Early(Protocol):
    """Updates parameters during a backward pass."""

    def update(self, index: int, start: int, grads: Any) -> None:
        """Update rows of a parameter by their gradients, which may be overwritten.

        Args:
            index: of the parameter among the engine's.
            start: the first row.
            grads: a row for each, (rows, inputs).
        """


class Product:
    """The weight of a product y = x W^T, and how its gradient is computed row by row.

    Args:
        index: of the weight among the engine's parameters.
        shape: of the weight, (outputs, inputs).
        empty: makes an array of the engine's.
        matmul: numpy's or torch's.

    Attributes:
        early: takes the rows; None: the gradient is wanted as a whole.
    """

    def __init__(
        self,
        index: int,
        shape: Shape,
        empty: Callable[[Shape], Any],
        matmul: Callable[..., Any],
    ) -> None:
        self.index, self._shape, self._empty, self._matmul = index, shape, empty, matmul
        self.early: Early | None = None

    def update(self, dy: Any, x: Any) -> None:
        """Update the weight by dy^T x; after this x W^T is another product.

        Args:
            dy: the gradient at y, (batch, outputs).
            x: (batch, inputs).
        """
        assert self.early is not None
        outputs, inputs = self._shape
        count = max(1, _BLOCK // inputs)
        memory = self._empty((min(count, outputs), inputs))
        for start in range(0, outputs, count):
            part = dy[:, start : start + count].T
            rows = self._matmul(part, x, out=memory[: part.shape[0]])
            self.early.update(self.index, start, rows)


@contextmanager
def updating(products: Sequence[Product], early: Early | None) -> Iterator[None]:
    """Let a backward pass in the block update the weights; with None it does not."""
    for each in products:
        each.early = early
    try:
        yield
    finally:
        for each in products:
            each.early = None


def large_weights(graph: Graph, places: Sequence[Place]) -> Mapping[int, int]:
    """Return the nodes whose first blob is large and used by no other: its index by the node's.

    Args:
        graph: the net.
        places: of the engine's parameters; the index is among these.
    """
    users: dict[Place, int] = {}
    for node in graph.nodes:
        for owner in node.owners:
            users[owner] = users.get(owner, 0) + 1
    return {
        node: index
        for index, (node, blob) in enumerate(places)
        if not blob
        and users[node, blob] == 1
        and prod(graph.nodes[node].blobs[blob].shape) >= _LARGE
    }
