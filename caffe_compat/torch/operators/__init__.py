"""ONNX's operators in torch: a function each, under the specification's own name.

Inputs are positional and attributes keywords, both as the specification has them; what our
lowerings never write is left out. A constant of one value is a Python number, and sizes (Reshape's
shape, Slice's starts) are tuples of Python's numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import onnx

from . import (
    convolution,
    elementwise,
    indexing,
    movement,
    normalization,
    pooling,
    reduction,
    regions,
    sizes,
)

__all__ = ["DEVICE", "FLOATS", "OPERATORS", "SIZES", "SIZE_OPERATORS", "known_options"]

_GROUPS = (
    convolution,
    elementwise,
    indexing,
    movement,
    normalization,
    pooling,
    reduction,
    regions,
)


def _named(*groups: object) -> dict[str, Callable[..., Any]]:
    return {
        name: function
        for group in groups
        for name, function in vars(group).items()
        if onnx.defs.has(name)
    }


def known_options(function: Callable[..., Any]) -> set[str]:
    """Return the attributes that an operator's function takes; none of a function of torch's."""
    if not isinstance(function, FunctionType) or not function.__module__.startswith(
        __name__
    ):
        return set()
    return set(inspect.signature(function).parameters)


OPERATORS = _named(*_GROUPS)
SIZE_OPERATORS = _named(sizes)

# Which inputs of an operator are sizes.
SIZES = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "NonMaxSuppression": (2,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}

# The floating-point types among onnx.TensorProto's numbers of types.
FLOATS = (1, 11)

# Operators that make a tensor of nothing, and must be told where.
DEVICE = ("ConstantOfShape", "Range")
