"""ONNX's Scan: a loop over an axis of some of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Scan(nn.Module):
    """Calls `step` for each place along the axes that it runs over.

    Attributes:
        step: from the states, the elements at this place, and what it reads from around, to the
            next states and what each place adds to the outputs.
    """

    def __init__(
        self,
        step: nn.Module,
        inputs: int,
        outputs: int,
        *,
        num_scan_inputs: int,
        scan_input_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.step = step
        self._states = inputs - num_scan_inputs
        self._axes = tuple(scan_input_axes or (0,) * num_scan_inputs)
        self._collected = outputs - self._states

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the last states, then the outputs of all places along a new first axis."""
        end = self._states + len(self._axes)
        states, around = inputs[: self._states], inputs[end:]
        columns = [
            x.unbind(axis) for x, axis in zip(inputs[self._states : end], self._axes, strict=True)
        ]
        collected: list[tuple[Tensor, ...]] = []
        for places in zip(*columns, strict=True):
            results = self.step(*states, *places, *around)
            states = results[: self._states]
            collected.append(results[self._states :])
        return (*states, *(torch.stack(column) for column in zip(*collected, strict=True)))
