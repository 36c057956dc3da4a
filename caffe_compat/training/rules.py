"""Update rules: from a gradient and its history to the change of a parameter blob.

A rule is written once, in arithmetic that numpy's arrays and torch's tensors share. It is called
as rule(p, rate, t, g, *history): `p` the SolverParameter, `rate` the learning rate times the
blob's lr_mult, `t` the number of the update from 1 on, `g` the gradient, and one array of the
blob's shape for each of the rule's slots, changed in place. It returns the value that is
subtracted from the blob. `g` may be overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..caffe_pb2 import SolverParameter
from ..errors import ShapeError, UnsupportedError

Step: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Rule:
    """An update rule.

    Attributes:
        type: Caffe's name of the solver.
        slots: the number of arrays of history that it keeps for each blob.
        step: the rule itself.
        in_history: whether its first slot is what it subtracts.
    """

    type: str
    slots: int
    step: Step
    in_history: bool = False


RULES: dict[str, Rule] = {}


def rule(type: str, slots: int = 1, *, in_history: bool = False) -> Callable[[Step], Step]:
    """Register an update rule under Caffe's name of the solver."""

    def register(step: Step) -> Step:
        RULES[type] = Rule(type, slots, step, in_history)
        return step

    return register


def find(p: SolverParameter) -> Rule:
    """Return the rule of a solver, its fields checked as Caffe's constructors check them.

    Raises:
        UnsupportedError: the type is not known.
        ShapeError: a field contradicts the type.
    """
    if p.type not in RULES:
        raise UnsupportedError(f"solver type '{p.type}' is not known (known: {', '.join(RULES)})")
    if p.type in ("AdaGrad", "RMSProp") and p.momentum:
        raise ShapeError(f"momentum cannot be used with {p.type}, and is {p.momentum:g}")
    if p.type == "RMSProp" and not 0 <= p.rms_decay < 1:
        raise ShapeError(f"rms_decay must lie in [0, 1), and is {p.rms_decay:g}")
    return RULES[p.type]


def axpy(a: float, x: Any, y: Any) -> None:
    """Add a x to y in place, by torch in one pass without memory of its own (caffe_axpy)."""
    if isinstance(y, np.ndarray):
        y += a * x
    else:
        y.add_(x, alpha=a)


@rule("SGD", in_history=True)
def sgd(p: SolverParameter, rate: float, t: int, g: Any, h: Any) -> Any:
    """H = momentum h + rate g; subtract h."""
    h *= p.momentum
    axpy(rate, g, h)
    return h


@rule("Nesterov")
def nesterov(p: SolverParameter, rate: float, t: int, g: Any, h: Any) -> Any:
    """H' = momentum h + rate g; subtract (1 + momentum) h' - momentum h (Sutskever et al. 2013)."""
    back = p.momentum * h
    h *= p.momentum
    axpy(rate, g, h)
    return (1 + p.momentum) * h - back


@rule("AdaGrad")
def adagrad(p: SolverParameter, rate: float, t: int, g: Any, h: Any) -> Any:
    """H = h + g^2; subtract rate g / (sqrt(h) + delta) (Duchi et al. 2011)."""
    h += g * g
    return rate * (g / (h**0.5 + p.delta))


@rule("RMSProp")
def rmsprop(p: SolverParameter, rate: float, t: int, g: Any, h: Any) -> Any:
    """H = d h + (1 - d) g^2; subtract rate g / (sqrt(h) + delta) (Tieleman and Hinton 2012)."""
    h *= p.rms_decay
    axpy(1 - p.rms_decay, g * g, h)
    return rate * (g / (h**0.5 + p.delta))


@rule("AdaDelta", slots=2)
def adadelta(p: SolverParameter, rate: float, t: int, g: Any, h: Any, u: Any) -> Any:
    """H = m h + (1 - m) g^2; c = g sqrt((u + delta) / (h + delta)); u = m u + (1 - m) c^2.

    Subtract rate c (Zeiler 2012).
    """
    h *= p.momentum
    axpy(1 - p.momentum, g * g, h)
    change = g * ((u + p.delta) / (h + p.delta)) ** 0.5
    u *= p.momentum
    axpy(1 - p.momentum, change * change, u)
    return rate * change


@rule("Adam", slots=2)
def adam(p: SolverParameter, rate: float, t: int, g: Any, m: Any, v: Any) -> Any:
    """M = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2 (Kingma and Ba 2015).

    Subtract rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + delta).
    """
    m *= p.momentum
    axpy(1 - p.momentum, g, m)
    v *= p.momentum2
    axpy(1 - p.momentum2, g * g, v)
    return rate * _correction(p, t) * (m / (v**0.5 + p.delta))


@np.errstate(all="ignore")  # a momentum of 1, of which Caffe makes infinity
def _correction(p: SolverParameter, t: int) -> float:
    """Return Adam's correction of the averages' start from 0."""
    return float(np.sqrt(1 - np.float64(p.momentum2) ** t) / (1 - np.float64(p.momentum) ** t))
