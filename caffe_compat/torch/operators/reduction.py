"""Operators that reduce axes, and those that order what lies along one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .whole import whole

Axes: TypeAlias = tuple[int, ...] | None


def ArgMax(
    x: Tensor, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Tensor:
    if not select_last_index:
        return torch.argmax(x, axis, bool(keepdims))
    return (
        x.shape[axis] - 1 - torch.argmax(torch.flip(x, (axis,)), axis, bool(keepdims))
    )


def CumSum(x: Tensor, axis: int) -> Tensor:
    return torch.cumsum(x, axis)


def LogSoftmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.log_softmax(x, axis)


def ReduceL1(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    return torch.sum(torch.abs(x), axes, bool(keepdims))


def ReduceMax(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    return torch.amax(x, axes or (), bool(keepdims))


def ReduceMean(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    return torch.mean(x, axes, bool(keepdims))


def ReduceMin(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    return torch.amin(x, axes or (), bool(keepdims))


@whole
def ReduceProd(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    for axis in sorted(range(x.ndim) if axes is None else axes, reverse=True):
        x = torch.prod(x, axis, bool(keepdims))
    return x


def ReduceSum(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    return torch.sum(x, axes, bool(keepdims))


def ReduceSumSquare(x: Tensor, axes: Axes = None, keepdims: int = 1) -> Tensor:
    return torch.sum(x * x, axes, bool(keepdims))


def Softmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def TopK(
    x: Tensor, k: Sequence[int], axis: int = -1, largest: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the first of equals first, which torch.topk leaves open."""
    values, places = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, k[0]), places.narrow(axis, 0, k[0])
