"""Modules that train faster than torch's own, or in fewer calls, by gradients of their own."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..layers import labels
from ..layers.families import softmax
from ..torch.module import CaffeModule
from ..types import Shape

# Bytes above which glibc takes fresh memory for an array and gives it back: writing to 150 MB for
# the first time takes longer than the product that is written.
_LARGE = 1 << 25


def replace(module: CaffeModule, device: torch.device) -> None:
    """Replace parts of a net's module: on a CPU large products and LRN; SoftmaxWithLoss."""
    for index, name in module.origin.parts.items():
        node, part = module.origin.graph.nodes[index], module.get_submodule(name)
        if isinstance(node.layer, softmax.SoftmaxWithLoss) and node.layer.ignore is None:
            module.set_submodule(name, SoftmaxWithLoss(node.layer, node.bottoms[0].shape))
        elif device.type != "cpu":
            continue
        elif type(part) is nn.Linear and part.weight.requires_grad and _is_large(part.weight):
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

    It rounds as the layer does in numpy, term by term.

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
        scale = _window_mean(x * x, norm.size).mul_(norm.alpha).add_(norm.k)
        power = scale.pow(-norm.beta)
        ctx.save_for_backward(x, scale, power)
        ctx.norm = norm
        return x * power

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, power = ctx.saved_tensors
        norm, (dy,) = ctx.norm, dys
        spread = _window_mean((dy * x).mul_(power).div_(scale), norm.size)
        return (dy * power).sub_(spread.mul_(2 * norm.alpha * norm.beta * x)), None


def _window_mean(x: Tensor, size: int) -> Tensor:
    """Return the mean over the `size` (odd) channels around each, with zeros beyond the edge."""
    total = x.clone()
    for step in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, step:] += x[:, :-step]
        total[:, :-step] += x[:, step:]
    return total.div_(size)


class SoftmaxWithLoss(nn.Module):
    """Caffe's loss without ignore_label, in the few calls that torch's cross entropy takes.

    Args:
        layer: the layer.
        x: the shape of its scores.
    """

    def __init__(self, layer: softmax.SoftmaxWithLoss, x: Shape) -> None:
        super().__init__()
        self._axis, self._mode = layer.axis(len(x)), layer.mode
        self._set(x)

    def _set(self, x: Shape) -> None:
        """Take the labels' shape and the divisor from the scores' shape."""
        self._scores, self._shape = x, (*x[: self._axis], 1, *x[self._axis + 1 :])
        counts = np.ones(self._shape, np.bool_)
        self._scale = float(labels.normalizer(self._mode, counts, self._axis))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss, a scalar, of scores and labels."""
        if x.shape != self._scores:  # the data decide how many rows there are
            self._set(tuple(x.shape))
        index = y.reshape(self._shape).long()
        loss: Tensor = _CrossEntropy.apply(x, index, self._axis, self._scale)  # type: ignore[no-untyped-call]
        return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, axis: int, scale: float) -> Tensor:
        logs = torch.log_softmax(x.float(), axis)
        ctx.save_for_backward(logs, index)
        ctx.axis, ctx.scale = axis, scale
        losses = logs.gather(axis, index).clamp_min_(_LEAST)
        return losses.sum().div_(-scale)

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:
        logs, index = ctx.saved_tensors
        dx = logs.exp().scatter_(ctx.axis, index, -1.0, reduce="add")
        return dx.mul_(dys[0] / ctx.scale), None, None, None


_LEAST = log(float(np.finfo(np.float32).tiny))  # Caffe's loss takes no probability below FLT_MIN
