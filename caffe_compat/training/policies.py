"""Learning-rate policies (sgd_solver.cpp, GetLearningRate), those of forks named as such."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ..caffe_pb2 import SolverParameter
from ..errors import ShapeError, UnsupportedError
from ..weights.solverstate import FLT_MAX

Policy: TypeAlias = Callable[[SolverParameter, int, int], float]
"""Returns the rate, from the parameters, the iteration and the number of steps so far."""

POLICIES: dict[str, Policy] = {}


@dataclass
class Place:
    """How far a policy has come; a solver state keeps it.

    Attributes:
        step: the number of steps.
        minimum_loss: the least smoothed loss so far, for `plateau`.
        last_event: the iteration of the last step or minimum, for `plateau`.
    """

    step: int = 0
    minimum_loss: float = FLT_MAX
    last_event: int = 0


class Schedule:
    """A solver's learning rate over its iterations.

    Args:
        p: the solver's parameters.

    Attributes:
        place: how far it has come.
    """

    def __init__(self, p: SolverParameter) -> None:
        self._p, self._policy = p, find(p)
        self.place = Place()

    def advance(self, iteration: int, loss: float) -> list[str]:
        """Go to an iteration, and return what Caffe logs about it.

        Args:
            iteration: the number of updates so far.
            loss: the smoothed loss.
        """
        p, place = self._p, self.place
        if iteration < p.warmup_iter:
            return []
        if p.lr_policy == "step":
            place.step = iteration // p.stepsize
        elif p.lr_policy == "multistep":
            if place.step < len(p.stepvalue) and iteration >= p.stepvalue[place.step]:
                place.step += 1
                return [f"MultiStep Status: Iteration {iteration}, step = {place.step}"]
        elif p.lr_policy == "plateau":
            return self._advance_plateau(iteration, loss)
        return []

    def _advance_plateau(self, iteration: int, loss: float) -> list[str]:
        """Take a step where the loss has had no new minimum for `plateau_winsize` iterations."""
        p, place = self._p, self.place
        lines = []
        if loss < place.minimum_loss:
            place.minimum_loss, place.last_event = loss, iteration
        sizes = p.plateau_winsize
        if place.step < len(sizes) and iteration >= place.last_event + sizes[place.step]:
            place.step, place.last_event = place.step + 1, iteration
            lines.append(f"Plateau Status: Iteration {iteration}, step = {place.step}")
        shown = p.display and iteration % p.display == 0
        if shown and place.last_event > iteration - p.display:
            least = f"current minimum_loss = {place.minimum_loss:g}"
            lines.append(f"Plateau Status: Iteration {iteration}, {least}")
        return lines

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite
    def rate(self, iteration: int) -> float:
        """Return the learning rate, rounded to float32 as Caffe does."""
        p = self._p
        if iteration < p.warmup_iter:  # Intel's
            done = iteration * p.base_lr + (p.warmup_iter - iteration) * p.warmup_start_lr
            return float(np.float32(done / p.warmup_iter))
        return float(np.float32(self._policy(p, iteration, self.place.step)))

    def next_rate(self, iteration: int) -> float:
        """Return what the rate will be, without going there."""
        before = replace(self.place)
        self.advance(iteration, math.inf)
        rate, self.place = self.rate(iteration), before
        return rate


def find(p: SolverParameter) -> Policy:
    """Return the policy that a solver names, its fields checked as Caffe checks them.

    Raises:
        UnsupportedError: the policy is not known.
        ShapeError: a field of it has a value that Caffe refuses.
    """
    name = p.lr_policy
    if name not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise UnsupportedError(f"lr_policy '{name}' is not known (known: {known})")
    if name in ("step", "sigmoid") and p.stepsize <= 0:
        raise ShapeError(f"lr_policy '{name}' needs a stepsize above 0, not {p.stepsize}")
    if name not in ("fixed", "poly", "multifixed") and not p.gamma >= 0:
        raise ShapeError(f"lr_policy '{name}' needs a gamma of at least 0, not {p.gamma:g}")
    if name == "poly" and p.max_iter <= 0:
        raise ShapeError(f"lr_policy 'poly' needs a max_iter above 0, not {p.max_iter}")
    if name == "multifixed" and (not p.stagelr or len(p.stagelr) != len(p.stageiter)):
        raise ShapeError(
            "lr_policy 'multifixed' needs a stageiter for each stagelr: "
            f"{len(p.stageiter)} for {len(p.stagelr)}"
        )
    return POLICIES[name]


def policy(function: Policy) -> Policy:
    """Register a policy under its name."""
    POLICIES[function.__name__] = function
    return function


def _power(base: float, exponent: float) -> float:
    """Return C's pow, which is infinite where Python raises."""
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        with np.errstate(all="ignore"):
            return float(np.power(base, exponent))


@policy
def fixed(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr."""
    return p.base_lr


@policy
def step(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr gamma^step; a step every `stepsize` iterations."""
    return p.base_lr * _power(p.gamma, step)


@policy
def exp(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr gamma^iteration."""
    return p.base_lr * _power(p.gamma, iteration)


@policy
def inv(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr (1 + gamma iteration)^-power."""
    base = np.float32(1) + np.float32(p.gamma) * np.float32(iteration)
    return p.base_lr * _power(float(base), -p.power)


@policy
def multistep(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr gamma^step; a step at each `stepvalue`."""
    return p.base_lr * _power(p.gamma, step)


@policy
def poly(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr (1 - iteration / max_iter)^power."""
    left = float(np.float32(1) - np.float32(iteration) / np.float32(p.max_iter))
    return p.base_lr * _power(left, p.power)  # NaN beyond max_iter, as Caffe's pow


@policy
def sigmoid(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr / (1 + exp(-gamma (iteration - stepsize)))."""
    exponent = -p.gamma * (iteration - p.stepsize)
    return p.base_lr / (1 + math.exp(exponent)) if exponent < 700 else 0.0


@policy
def plateau(p: SolverParameter, iteration: int, step: int) -> float:
    """base_lr gamma^step; a step where the loss stalls (SSD's branch, Intel's fork)."""
    return p.base_lr * _power(p.gamma, step)


@policy
def multifixed(p: SolverParameter, iteration: int, step: int) -> float:
    """`stagelr` of the first stage whose `stageiter` is not passed, or of the last (Intel's)."""
    stages = zip(p.stageiter, p.stagelr, strict=True)
    return next((rate for last, rate in stages if iteration <= last), p.stagelr[-1])
