"""Arithmetic on sizes: what ONNX computes from Shape runs on Python's numbers here.

A vector is a tuple, a scalar a number. So torch.export follows sizes that vary, and a GPU is not
asked for them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .elementwise import DTYPES
from .whole import whole

Size: TypeAlias = int | tuple[int, ...]


def _each(function: Callable[..., int], *parts: Size) -> Size:
    """Apply a function element by element; a number or a vector of one stands for every element."""
    count = max((len(part) for part in parts if isinstance(part, tuple)), default=None)
    if count is None:
        return function(*parts)
    columns = [_vector(part) for part in parts]
    columns = [column * count if len(column) == 1 else column for column in columns]
    return tuple(function(*row) for row in zip(*columns, strict=True))


@whole
def Shape(x: Tensor, start: int = 0, end: int | None = None) -> Size:
    return tuple(x.shape[start:end])


@whole
def Add(a: Size, b: Size) -> Size:
    return _each(operator.add, a, b)


@whole
def Concat(*parts: Size, axis: int = 0) -> Size:
    return tuple(n for part in parts for n in _vector(part))


@whole
def Div(a: Size, b: Size) -> Size:
    return _each(operator.floordiv, a, b)


@whole
def Equal(a: Size, b: Size) -> Size:
    return _each(operator.eq, a, b)


@whole
def Gather(x: Size, indices: Size, axis: int = 0) -> Size:
    return _each(_vector(x).__getitem__, indices)


@whole
def Min(a: Size, b: Size) -> Size:
    return _each(torch.sym_min, a, b)


@whole
def Mul(a: Size, b: Size) -> Size:
    return _each(operator.mul, a, b)


@whole
def Reshape(x: Size, shape: Sequence[int]) -> Size:
    """To a scalar or a vector."""
    return _vector(x) if shape else _vector(x)[0]


@whole
def Slice(x: Size, starts: Size, ends: Size, *more: Size) -> Size:
    return _vector(x)[_vector(starts)[0] : _vector(ends)[0]]


@whole
def Squeeze(x: Size, axes: Size | None = None) -> Size:
    return _vector(x)[0]


@whole
def Sub(a: Size, b: Size) -> Size:
    return _each(operator.sub, a, b)


@whole
def Where(condition: Size, x: Size, y: Size) -> Size:
    return _each(_choose, condition, x, y)


def _choose(condition: int, x: int, y: int) -> int:
    """Return x or y; torch wants both to be symbols where one of them is."""
    chosen: int = torch.sym_ite(condition, x + 0 * y, y + 0 * x)
    return chosen


@whole
def Cast(x: Size, to: int, device: torch.device) -> Tensor | Size:
    """Cast sizes: as floating-point numbers they are a tensor like others."""
    dtype = DTYPES[to]
    if not dtype.is_floating_point:
        return x
    numbers = [torch.full((), n, dtype=dtype, device=device) for n in _vector(x)]
    return torch.stack(numbers) if isinstance(x, tuple) else numbers[0]


def _vector(x: Size) -> tuple[int, ...]:
    return x if isinstance(x, tuple) else (x,)
