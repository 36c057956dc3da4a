"""Operators that work element by element.

A constant of one value arrives as a Python number, so that it takes on the tensor's dtype.
"""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import Tensor

Abs = torch.abs
Add = operator.add
And = torch.logical_and
Ceil = torch.ceil
Div = operator.truediv
Equal = operator.eq
Exp = torch.exp
Floor = torch.floor
Greater = operator.gt
GreaterOrEqual = operator.ge
HardSwish = F.hardswish
Less = operator.lt
LessOrEqual = operator.le
Log = torch.log
Mish = F.mish
Mod = torch.remainder
Mul = operator.mul
Neg = operator.neg
Not = torch.logical_not
Pow = operator.pow
Relu = F.relu
Sigmoid = torch.sigmoid
Sign = torch.sign
Softplus = F.softplus
Sqrt = torch.sqrt
Sub = operator.sub
Tanh = torch.tanh
Where = torch.where

# onnx.TensorProto's numbers of types.
DTYPES = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}


def Cast(x: Tensor, to: int) -> Tensor:
    return x.to(DTYPES[to])


def Clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def Elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def Identity(x: Tensor) -> Tensor:
    return x


def LeakyRelu(x: Tensor, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def Max(x: Tensor, *others: Tensor | float) -> Tensor:
    """Return the greatest of each place.

    Of equals one has the gradient, as in Caffe: the second before the first, then the others. A
    constant other than 0 takes none away: Caffe's losses keep a logarithm finite so, and derive
    without it.
    """
    for i, other in enumerate(others):
        if isinstance(other, float) and not other:
            x = F.relu(x)
        elif isinstance(other, float):
            # Not `x > other`, so that a NaN stays one.
            x = torch.where(x <= other, other + torch.nan_to_num(x - x.detach()), x)
        else:
            x = (
                torch.where(x > other, x, other)
                if i == 0
                else torch.where(other > x, other, x)
            )
    return x


def Min(x: Tensor, *others: Tensor | float) -> Tensor:
    for other in others:
        x = (
            torch.clamp(x, max=other)
            if isinstance(other, float)
            else torch.minimum(x, other)
        )
    return x


def PRelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def Sum(x: Tensor, *others: Tensor) -> Tensor:
    for other in others:
        x = x + other
    return x
