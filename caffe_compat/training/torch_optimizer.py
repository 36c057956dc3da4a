"""Caffe's update rules as a torch optimizer, and its policies as a scheduler."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ..caffe_pb2 import SolverParameter
from ..net.sharing import Place
from ..torch.module import CaffeModule
from . import rules
from .blocks import Block, Learnable, cut
from .engine import learnables, owned
from .policies import Schedule
from .torch_blocks import bundle
from .updates import advance, clip


class CaffeOptimizer(torch.optim.Optimizer):
    """The update of a solver, over the parameters of a module.

    A group has the parameters of equal multipliers. Its `lr` is the rate of its next step, which
    `scheduler` changes; its `lr_mult` and `decay_mult` are the net's. The `grad` of a parameter is
    left as it is; what Caffe would subtract is not kept.

    Args:
        module: the module, `to_torch`'s or any other, whose multipliers are then 1.
        p: the solver's parameters, checked.
    """

    def __init__(self, module: nn.Module, p: SolverParameter) -> None:
        self.param, self.iter = p, 0
        self._rule = rules.find(p)
        rate = Schedule(p).next_rate(0)
        named = list(module.named_parameters())
        multipliers = _multipliers(module)
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in named:
            groups[multipliers.get(name, (1.0, 1.0))].append(parameter)
        super().__init__(
            [
                {"params": params, "lr": rate * lr, "lr_mult": lr, "decay_mult": decay}
                for (lr, decay), params in groups.items()
            ],
            {"lr": rate, "lr_mult": 1.0, "decay_mult": 1.0},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters that have a gradient.

        Args:
            closure: computes the loss and the gradients anew.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.iter += 1
        blocks = [block for group in self.param_groups for block in self._blocks(group)]
        clip(self.param, [block.grads for _, block in blocks], lambda line: None)
        for rate, block in blocks:
            advance(self._rule, self.param, rate, self.iter, block, leave=False)
        return loss

    def _blocks(self, group: dict[str, Any]) -> list[tuple[float, Block]]:
        """Return the parameters of a group that have a gradient, in blocks, and their rate."""
        params = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not params:
            return []
        grads = [parameter.grad.clone() for parameter in params]
        slots = [f"history_{slot}" for slot in range(self._rule.slots)]
        for parameter in params:
            for slot in slots:
                if slot not in self.state[parameter]:
                    self.state[parameter][slot] = torch.zeros_like(parameter)
        history = [self.state[parameter][slot] for slot in slots for parameter in params]
        split = bundle if params[0].is_cuda else cut
        each = Learnable("", "", 1.0, group["decay_mult"])
        data = [parameter.detach() for parameter in params]
        found = split([each] * len(params), data, grads, history)
        return [(group["lr"], block) for block in found]

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with the number of steps."""
        return {**super().state_dict(), "iter": self.iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a state that `state_dict` returned."""
        state = dict(state_dict)
        self.iter = state.pop("iter")
        super().load_state_dict(state)


class PolicyScheduler(LRScheduler):
    """The learning-rate policy of an optimizer's solver.

    Args:
        optimizer: the optimizer.
    """

    optimizer: CaffeOptimizer

    def __init__(self, optimizer: CaffeOptimizer) -> None:
        self._policy = Schedule(optimizer.param)
        self._loss = math.inf
        super().__init__(optimizer)

    def step(self, epoch: int | None = None, *, loss: float = math.inf) -> None:
        """Go on to the next iteration.

        Args:
            epoch: the iteration, as torch's own schedulers take it.
            loss: the smoothed loss, by which the policy `plateau` goes.
        """
        self._loss = loss
        super().step(epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each group's next step."""
        self._policy.advance(self.last_epoch, self._loss)
        rate = self._policy.rate(self.last_epoch)
        return [rate * group["lr_mult"] for group in self.optimizer.param_groups]


def _multipliers(module: nn.Module) -> dict[str, tuple[float, float]]:
    """Return lr_mult and decay_mult of the parameters of a net's module, by their names."""
    if not isinstance(module, CaffeModule):
        return {}
    graph = module.origin.graph
    by_place: dict[Place, Learnable] = dict(zip(owned(graph), learnables(graph), strict=True))
    owners = {
        key: graph.nodes[index].owners[blob] for key, (index, blob) in module.origin.places.items()
    }
    return {
        key: (by_place[owner].lr_mult, by_place[owner].decay_mult) for key, owner in owners.items()
    }
