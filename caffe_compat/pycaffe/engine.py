"""Forward and backward of a live net: layer by layer, or several layers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .steps import Computed, Step

if TYPE_CHECKING:
    from .debug import DebugLog

Callback = Callable[[int], Any]

SEGMENTS = True  # whether onnxruntime runs several layers at once, where it is installed
TORCH = True  # whether PyTorch runs layers backward, where it is installed


class Engine:
    """Runs the layers of a net.

    Attributes:
        before_forward: what to call with a layer's index before it runs forward.
        after_forward: likewise after it.
        before_backward: likewise before it runs backward.
        after_backward: likewise after it.
        debug: what logs each layer that has run, for `debug_info`.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._segments: dict[tuple[int, int], Any] = {}
        self._by_torch: bool | None = None
        self.before_forward: list[Callback] = []
        self.after_forward: list[Callback] = []
        self.before_backward: list[Callback] = []
        self.after_backward: list[Callback] = []
        self.debug: DebugLog | None = None

    def forward(self, start: int, end: int) -> float:
        """Run the layers from `start` to `end`, both included; return the weighted loss."""
        self._check(start, end)
        watched = bool(self.before_forward or self.after_forward or self.debug)
        loss, i = 0.0, start
        while i <= end:
            for run in self.before_forward:
                run(i)
            stop = self._run(i, i if watched else end)
            for step in self._steps[i:stop]:
                if any(step.loss_weights):
                    loss += step.loss()
            if self.debug is not None:
                self.debug.forward(i)
            for run in self.after_forward:
                run(i)
            i = stop
        return loss

    def _run(self, start: int, last: int) -> int:
        """Run the layer at `start`, and those behind it that can go along; where to go on."""
        segment = self._segment(start, last)
        stop: int = segment.run() if segment is not None else start
        if stop == start:
            step = self._steps[start]
            step.reshape()
            step.forward()
            stop += 1
        return stop

    def _segment(self, start: int, last: int) -> Any:
        if (start, last) not in self._segments:
            self._segments[start, last] = None
            if SEGMENTS:
                from .segments import Segment, available  # onnxruntime, when a net first runs

                if available():
                    self._segments[start, last] = Segment(self._steps, start, last)
        return self._segments[start, last]

    def backward(self, start: int, end: int) -> None:
        """Run the layers backward from `start` down to `end`, both included."""
        self._check(end, start)
        for i in range(start, end - 1, -1):
            for run in self.before_backward:
                run(i)
            if self._steps[i].need_backward:
                self._steps[i].check_backward()
                self._backward(self._steps[i])
                if self.debug is not None:
                    self.debug.backward(i)
            for run in self.after_backward:
                run(i)

    def _backward(self, step: Step) -> None:
        from .gradients import backward

        if type(step) is not Computed or not backward(step, by_torch=self._torch()):
            step.backward()

    def _torch(self) -> bool:
        """Return whether PyTorch is there to run layers backward; looked up when first needed."""
        if self._by_torch is None:
            from .gradients import available

            self._by_torch = TORCH and available()
        return self._by_torch

    def _check(self, low: int, high: int) -> None:
        if low < 0 or high >= len(self._steps):
            raise IndexError(f"layers {low} to {high} of a net with {len(self._steps)}")
