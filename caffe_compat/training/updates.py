"""From gradients to new weights: clipping, averaging, decay and the rule (sgd_solver.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..caffe_pb2 import SolverParameter
from . import rules
from .blocks import Block
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

    def update(self, iteration: int, rate: float) -> None:
        """Change the weights; the gradients become what is subtracted, as in Caffe."""
        p, t = self._p, iteration + 1
        blocks = list(self._engine.blocks(self.history))
        clip(p, [block.grads for block in blocks], lambda line: self._log(line, "sgd_solver.cpp"))
        for block in blocks:
            advance(self._rule, p, rate, t, block)


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


def advance(rule: Rule, p: SolverParameter, rate: float, t: int, block: Block) -> None:
    """Change the parameters of a block; its gradients become what is subtracted.

    Args:
        rule: the rule.
        p: the solver's parameters.
        rate: the learning rate.
        t: the number of the update, from 1 on.
        block: numpy's arrays, or torch's.
    """
    w, g = block.params, block.grads
    if p.iter_size > 1:
        g *= 1 / p.iter_size
    decay = p.weight_decay * block.decay_mult
    if decay:
        rules.axpy(decay, w if p.regularization_type == "L2" else _sign(w), g)
    g[...] = rule.step(p, rate * block.lr_mult, t, g, *block.history)
    w -= g


def _sign(w: Any) -> Any:
    """Return -1, 0 or 1 for each value, in the dtype of `w`."""
    return (w > 0) * 1.0 - (w < 0) * 1.0
