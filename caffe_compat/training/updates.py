"""From gradients to new weights: clipping, averaging, decay and the rule (sgd_solver.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..caffe_pb2 import SolverParameter
from . import rules
from .blocks import Block, cut
from .engine import Engine
from .log import Log, Write
from .rules import Rule


class Updater:
    """Changes the weights of an engine.

    Args:
        p: the solver's parameters.
        engine: the train net.
        log: where to log.

    Attributes:
        type: Caffe's name of the rule.
        history: the rule's arrays: for each of its slots one for each blob.
    """

    def __init__(self, p: SolverParameter, engine: Engine, log: Log) -> None:
        self._p, self._engine, self._log = p, engine, log
        self._rule = rules.find(p)
        self.type = self._rule.type
        zeros = (np.zeros(w.shape, np.float32) for w in [*engine.params] * self._rule.slots)
        self.history: list[Any] = [engine.array(array) for array in zeros]

    def early(self, iteration: int, rate: float) -> RowUpdates | None:
        """Return what updates parameters during the backward pass of an iteration.

        Returns:
            None where the whole gradient is needed, by the solver or as what is subtracted.
        """
        p = self._p
        if not self._rule.in_history or p.iter_size > 1 or p.clip_gradients >= 0:
            return None
        return RowUpdates(self._rule, p, rate, iteration + 1, self._engine, self.history)

    def update(self, iteration: int, rate: float, early: RowUpdates | None = None) -> None:
        """Change the weights; the gradients become what is subtracted, as in Caffe.

        Args:
            iteration: the number of updates so far.
            rate: the learning rate.
            early: what updated some of them already.
        """
        p, t = self._p, iteration + 1
        blocks = list(self._engine.blocks(self.history, early.done if early else ()))
        clip(p, [block.grads for block in blocks], lambda line: self._log(line, "sgd_solver.cpp"))
        changes = self._engine.changes if self._rule.in_history else None
        for block in blocks:
            advance(self._rule, p, rate, t, block, leave=changes is None)
        if changes is not None:
            changes.update(enumerate(self.history[: len(self._engine.params)]))


class RowUpdates:
    """Updates rows of parameters during a backward pass; see `Early`.

    Attributes:
        done: the indices of the parameters.

    Args:
        rule: the rule, whose first slot is what it subtracts.
        p: the solver's parameters.
        rate: the learning rate.
        t: the number of the update, from 1 on.
        engine: the train net.
        history: the rule's arrays.
    """

    def __init__(
        self,
        rule: Rule,
        p: SolverParameter,
        rate: float,
        t: int,
        engine: Engine,
        history: Sequence[Any],
    ) -> None:
        self._rule, self._p, self._rate, self._t = rule, p, rate, t
        self._engine, self._history = engine, history
        self.done: set[int] = set()

    def update(self, index: int, start: int, grads: Any) -> None:
        """Update rows of a parameter by their gradients, which may be overwritten."""
        params, rows = self._engine.params, slice(start, start + len(grads))
        history = [array[rows] for array in self._history[index :: len(params)]]
        learnable = self._engine.learnables[index]
        for block in cut([learnable], [params[index][rows]], [grads], history):
            w = block.params
            w -= _change(self._rule, self._p, self._rate, self._t, block)
        self.done.add(index)


def clip(p: SolverParameter, grads: Sequence[Any], write: Write) -> None:
    """Scale all gradients down to an L2 norm of clip_gradients.

    Args:
        p: the solver's parameters.
        grads: the gradients.
        write: takes a line where that happens.
    """
    limit = p.clip_gradients
    if limit < 0:
        return
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    if norm > limit:
        write(
            f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g}) "
            f"by scale factor {limit / norm:g}"
        )
        for g in grads:
            g *= limit / norm


def advance(
    rule: Rule, p: SolverParameter, rate: float, t: int, block: Block, *, leave: bool = True
) -> None:
    """Change the parameters of a block.

    Args:
        rule: the rule.
        p: the solver's parameters.
        rate: the learning rate.
        t: the number of the update, from 1 on.
        block: numpy's arrays, or torch's.
        leave: leave what was subtracted in the place of the gradients.
    """
    w, g = block.params, block.grads
    one_call = hasattr(w, "descend") and p.regularization_type == "L2" and p.momentum > 0
    if not leave and one_call:
        if p.iter_size > 1:
            g *= 1 / p.iter_size
        decay = p.weight_decay * block.decay_mult
        w.descend(g, block.history[0], p.momentum, rate * block.lr_mult, decay)
        return
    change = _change(rule, p, rate, t, block)
    if leave:
        g[...] = change
    w -= change


def _change(rule: Rule, p: SolverParameter, rate: float, t: int, block: Block) -> Any:
    """Return what to subtract from the parameters of a block."""
    w, g = block.params, block.grads
    if p.iter_size > 1:
        g *= 1 / p.iter_size
    decay = p.weight_decay * block.decay_mult
    if decay:
        rules.axpy(decay, w if p.regularization_type == "L2" else _sign(w), g)
    return rule.step(p, rate * block.lr_mult, t, g, *block.history)


def _sign(w: Any) -> Any:
    """Return -1, 0 or 1 for each value, in the dtype of `w`."""
    return (w > 0) * 1.0 - (w < 0) * 1.0
