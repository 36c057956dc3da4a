"""Modules that train faster on a CPU than torch's own, by gradients of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Bytes above which glibc takes fresh memory for an array and gives it back: writing to 150 MB for
# the first time takes longer than the product that is written.
_LARGE = 1 << 25


def replace(module: nn.Module) -> None:
    """Replace parts of a module that torch trains slowly on a CPU, large products and LRN."""
    for name, part in list(module.named_modules()):
        if type(part) is nn.Linear and part.weight.requires_grad and _is_large(part.weight):
            module.set_submodule(name, Linear(part))
        elif type(part) is nn.LocalResponseNorm:
            module.set_submodule(name, LRN(part))


def _is_large(weight: Tensor) -> bool:
    return weight.numel() * weight.element_size() > _LARGE


class Linear(nn.Module):
    """x W^T + b, where the gradient of W stays in the same memory from pass to pass.

    `weight.grad` is None or that memory; setting it to None starts its sum anew.

    Args:
        linear: torch's module, whose parameters it takes.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._memory: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        y: Tensor = _Product.apply(x, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return y

    def add(self, dy: Tensor, x: Tensor) -> None:
        """Add dy^T x to the weight's gradient."""
        if self.weight.grad is not None:
            self.weight.grad.addmm_(dy.t(), x)
            return
        if self._memory is None:
            self._memory = torch.empty_like(self.weight)
        self.weight.grad = torch.mm(dy.t(), x, out=self._memory)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, linear: Linear) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.linear = linear
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (dy,) = dys
        ctx.linear.add(dy, x)
        dx = dy @ weight if ctx.needs_input_grad[0] else None
        return dx, None, dy.sum(0) if ctx.needs_input_grad[2] else None, None


class LRN(nn.Module):
    """x / (k + alpha mean(x^2))^beta over neighbouring channels (Krizhevsky et al. 2012).

    Args:
        norm: torch's module.
    """

    def __init__(self, norm: nn.LocalResponseNorm) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = norm.size, norm.alpha, norm.beta, norm.k

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized images."""
        y: Tensor = _Normalized.apply(x, self)  # type: ignore[no-untyped-call]
        return y


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: LRN) -> Tensor:
        scale = _window_sum(x * x, norm.size).mul_(norm.alpha / norm.size).add_(norm.k)
        power = scale.pow(-norm.beta)
        ctx.save_for_backward(x, scale, power)
        ctx.norm = norm
        return x * power

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, power = ctx.saved_tensors
        norm, (dy,) = ctx.norm, dys
        direct = dy * power
        spread = _window_sum((direct * x).div_(scale), norm.size)
        factor = -2 * norm.alpha * norm.beta / norm.size
        return direct.addcmul_(x, spread, value=factor), None


def _window_sum(x: Tensor, size: int) -> Tensor:
    """Return the sum over the `size` (odd) neighbouring channels of each."""
    total = x.clone()
    for step in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, step:] += x[:, :-step]
        total[:, :-step] += x[:, step:]
    return total
