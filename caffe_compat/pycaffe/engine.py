"""Forward and backward of a live net, layer by layer or several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .steps import Step

Callback = Callable[[int], Any]


class Engine:
    """Runs the layers of a net.

    Attributes:
        before_forward: what to call with a layer's index before it runs forward.
        after_forward: likewise after it.
        before_backward: likewise before it runs backward.
        after_backward: likewise after it.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self.before_forward: list[Callback] = []
        self.after_forward: list[Callback] = []
        self.before_backward: list[Callback] = []
        self.after_backward: list[Callback] = []

    def forward(self, start: int, end: int) -> float:
        """Run the layers from `start` to `end`, both included; return the weighted loss."""
        self._check(start, end)
        loss = 0.0
        for i in range(start, end + 1):
            for run in self.before_forward:
                run(i)
            step = self._steps[i]
            step.reshape()
            step.forward()
            loss += step.loss()
            for run in self.after_forward:
                run(i)
        return loss

    def backward(self, start: int, end: int) -> None:
        """Run the layers backward from `start` down to `end`, both included."""
        self._check(end, start)
        for i in range(start, end - 1, -1):
            for run in self.before_backward:
                run(i)
            if self._steps[i].need_backward:
                self._steps[i].backward()
            for run in self.after_backward:
                run(i)

    def _check(self, low: int, high: int) -> None:
        if low < 0 or high >= len(self._steps):
            raise IndexError(f"layers {low} to {high} of a net with {len(self._steps)}")
