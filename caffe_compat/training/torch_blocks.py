"""Tensors that an update rule changes together, in few calls to the device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .blocks import Block, Learnable


class Bundle:
    """Several tensors under the arithmetic of one, by torch's functions for lists.

    Args:
        tensors: the tensors, on one device.
    """

    __array_ufunc__ = None

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def __mul__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_mul(self.tensors, _operand(other)))

    __rmul__ = __mul__

    def __imul__(self, other: Any) -> Bundle:
        torch._foreach_mul_(self.tensors, _operand(other))
        return self

    def __add__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_add(self.tensors, _operand(other)))

    def __iadd__(self, other: Any) -> Bundle:
        torch._foreach_add_(self.tensors, _operand(other))
        return self

    def __sub__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_sub(self.tensors, _operand(other)))

    def __isub__(self, other: Any) -> Bundle:
        torch._foreach_sub_(self.tensors, _operand(other))
        return self

    def __truediv__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_div(self.tensors, _operand(other)))

    def __pow__(self, exponent: float) -> Bundle:
        if exponent == 0.5:
            return Bundle(torch._foreach_sqrt(self.tensors))
        return Bundle(torch._foreach_pow(self.tensors, exponent))

    def __gt__(self, other: float) -> Bundle:
        return Bundle([(each > other).float() for each in self.tensors])

    def __lt__(self, other: float) -> Bundle:
        return Bundle([(each < other).float() for each in self.tensors])

    def __setitem__(self, every: Any, other: Bundle) -> None:
        torch._foreach_copy_(self.tensors, other.tensors)

    def add_(self, other: Bundle, *, alpha: float) -> None:
        """Add alpha times the others in place."""
        torch._foreach_add_(self.tensors, other.tensors, alpha=alpha)

    def descend(self, grads: Bundle, history: Bundle, m: float, rate: float, decay: float) -> None:
        """Take a step of Caffe's SGD in one call: h = m h + rate (g + decay w); w -= h.

        On a GPU torch wants an m above 0.
        """
        torch._fused_sgd_(
            self.tensors,
            grads.tensors,
            history.tensors,
            momentum=m,
            dampening=1 - rate,  # torch's h is m h + (1 - dampening) g, and it subtracts lr h
            lr=1.0,
            weight_decay=decay,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )

    def sum(self) -> Tensor:
        """Return the sum over all values."""
        return torch.stack([each.sum() for each in self.tensors]).sum()


def _operand(value: Any) -> Any:
    return value.tensors if isinstance(value, Bundle) else value


def bundle(
    learnables: Sequence[Learnable],
    params: Sequence[Tensor],
    grads: Sequence[Any],
    history: Sequence[Tensor],
    skip: Collection[int] = (),
) -> Iterator[Block]:
    """Yield the parameters in blocks, one for all of the same multipliers; see `cut`."""
    groups: dict[tuple[float, float], list[int]] = defaultdict(list)
    for i, each in enumerate(learnables):
        if i not in skip:
            groups[each.lr_mult, each.decay_mult].append(i)
    slots = [history[start : start + len(params)] for start in range(0, len(history), len(params))]
    for (lr_mult, decay_mult), members in groups.items():
        w, g, *h = (Bundle([a[i] for i in members]) for a in (params, grads, *slots))
        yield Block(lr_mult, decay_mult, w, g, h)
