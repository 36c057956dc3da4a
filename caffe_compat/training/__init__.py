"""Training: a solver's prototxt to trained weights, as Caffe computes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..caffe_pb2 import SolverParameter
from .parameters import checked

if TYPE_CHECKING:
    from torch import nn

    from .torch_optimizer import CaffeOptimizer, PolicyScheduler

__all__ = ["optimizer", "scheduler"]


def optimizer(module: nn.Module, solver: str | Path | SolverParameter) -> CaffeOptimizer:
    """Return a torch optimizer that updates a module as a solver does.

    >>> module = caffe_compat.to_torch("train_val.prototxt", phase="TRAIN")
    >>> optimizer = caffe_compat.training.optimizer(module, "solver.prototxt")
    >>> scheduler = caffe_compat.training.scheduler(optimizer)
    >>> for batch in batches:
    ...     optimizer.zero_grad()
    ...     module.total_loss(module(*batch)).backward()
    ...     optimizer.step()
    ...     scheduler.step()

    The rule, weight decay, clipping and the division by iter_size are the solver's, the multipliers
    of each parameter the net's. Gradients of iter_size passes are added up by the caller.

    Args:
        module: the module.
        solver: a solver's prototxt, or its message; its nets are not read.

    Raises:
        CaffeCompatError: the solver is one that Caffe refuses.
    """
    from .torch_optimizer import CaffeOptimizer

    return CaffeOptimizer(module, checked(solver)[0])


def scheduler(optimizer: CaffeOptimizer) -> PolicyScheduler:
    """Return a torch scheduler that sets an optimizer's rate by the solver's lr_policy."""
    from .torch_optimizer import PolicyScheduler

    return PolicyScheduler(optimizer)
