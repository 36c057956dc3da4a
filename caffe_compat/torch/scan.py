"""ONNX's Scan: a loop over an axis of some of its inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scan(nn.Module):
    """Calls `step` for each place along the axes that it runs over.

    Attributes:
        step: from the states, the elements at this place, and what it reads from around, to the
            next states and what each place adds to the outputs.
        states: how many of the inputs are states.
        axes: of the inputs behind them, the axis along which each is run over; the rest are read
            from around.
    """

    def __init__(self, step: nn.Module, states: int, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.step, self.states, self.axes = step, states, axes

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the last states, then the outputs of all places along a new first axis.

        A lone result is no tuple, as of any node.
        """
        end = self.states + len(self.axes)
        states, around = inputs[: self.states], inputs[end:]
        scanned = zip(inputs[self.states : end], self.axes, strict=True)
        columns = [x.unbind(axis) for x, axis in scanned]
        collected: list[tuple[Tensor, ...]] = []
        for places in zip(*columns, strict=True):
            results = self.step(*states, *places, *around)
            results = (results,) if isinstance(results, Tensor) else results
            states = results[: self.states]
            collected.append(results[self.states :])
        stacks = (torch.stack(column) for column in zip(*collected, strict=True))
        tops = (*states, *stacks)
        return tops if len(tops) > 1 else tops[0]
