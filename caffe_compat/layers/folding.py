"""Compute ONNX nodes in numpy where all that they read is known before any run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..types import AnyArray

if TYPE_CHECKING:
    import onnx

Fold: TypeAlias = "Callable[[Sequence[AnyArray], Mapping[str, Any]], Sequence[AnyArray] | None]"


_CERTAIN = 2**31


def evaluate(node: onnx.NodeProto, inputs: Sequence[AnyArray]) -> Sequence[AnyArray] | None:
    """Return a node's outputs; None where its operator is not one of `FOLDS` or an input lacks."""
    fold = FOLDS.get(node.op_type)
    if fold is None or len(inputs) < len(node.input):
        return None
    from onnx import helper

    return fold(inputs, {a.name: helper.get_attribute_value(a) for a in node.attribute})


def _constant_of_shape(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray]:
    from onnx import numpy_helper

    value = numpy_helper.to_array(p["value"]) if "value" in p else np.zeros(1, np.float32)
    return [np.broadcast_to(value, inputs[0])]


def _flatten(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray]:
    (x,), axis = inputs, p.get("axis", 1)
    return [x.reshape(prod(x.shape[:axis]), -1)]


def _reshape(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray]:
    x, shape = inputs
    return [x.reshape([n or x.shape[i] for i, n in enumerate(shape.tolist())])]


def _split(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray]:
    x, axis = inputs[0], p.get("axis", 0)
    if len(inputs) > 1:
        return np.split(x, list(accumulate(inputs[1].tolist()))[:-1], axis)
    count = p["num_outputs"]
    size = -(-x.shape[axis] // count)  # the last part is the smaller one
    return np.split(x, [size * i for i in range(1, count)], axis)


def _cast(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray] | None:
    from onnx import helper

    (x,), kind = inputs, helper.tensor_dtype_to_np_dtype(p["to"])
    if {x.dtype.kind, kind.kind} - {*"biuf"}:
        return None
    # Beyond the integers' range every machine has other numbers.
    return [x.astype(kind)] if kind == np.float64 or (np.abs(x) < _CERTAIN).all() else None


def _divide(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray] | None:
    a, b = inputs
    return [a / b] if a.dtype.kind == "f" and b.all() else None  # integers are cut off at 0


def _extreme(choose: Callable[..., AnyArray]) -> Fold:
    """Return the fold of Max or Min, without NaN, of which opsets differ."""

    def fold(inputs: Sequence[AnyArray], p: Mapping[str, Any]) -> Sequence[AnyArray] | None:
        return None if any((x != x).any() for x in inputs) else [functools.reduce(choose, inputs)]

    return fold


FOLDS: dict[str, Fold] = {
    "Add": lambda x, p: [x[0] + x[1]],
    "Cast": _cast,
    "Concat": lambda x, p: [np.concatenate(x, p["axis"])],
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Equal": lambda x, p: [x[0] == x[1]],
    "Flatten": _flatten,
    "Floor": lambda x, p: [np.floor(x[0])],
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "Mul": lambda x, p: [x[0] * x[1]],
    "Reshape": _reshape,
    "Split": _split,
    "Sub": lambda x, p: [x[0] - x[1]],
    "Transpose": lambda x, p: [x[0].transpose(p["perm"])],
}
