"""Modules that train faster than torch's own, or in fewer calls, by gradients of their own."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..layers import labels
from ..layers.families import softmax
from ..net.sharing import Place
from ..torch.module import CaffeModule
from ..types import Shape
from .large import Product, large_weights

_CPU = torch.device("cpu")


def replace(
    module: CaffeModule, device: torch.device, places: Sequence[Place] = ()
) -> list[Product]:
    """Replace parts of a net's module: on a CPU large products and LRN; SoftmaxWithLoss.

    Args:
        module: the module.
        device: where it runs.
        places: of the engine's parameters; none where it does not train.

    Returns:
        What updates the weights of the large products.
    """
    indices, products = large_weights(module.origin.graph, places), []
    for index, name in module.origin.parts.items():
        node, part = module.origin.graph.nodes[index], module.get_submodule(name)
        if isinstance(node.layer, softmax.SoftmaxWithLoss) and node.layer.ignore is None:
            module.set_submodule(name, SoftmaxWithLoss(node.layer, node.bottoms[0].shape, device))
        elif device.type != "cpu":
            continue
        elif type(part) is nn.Linear and index in indices and part.weight.requires_grad:
            product = Product(indices[index], tuple(part.weight.shape), torch.empty, torch.matmul)
            module.set_submodule(name, Linear(part, product))
            products.append(product)
        elif type(part) is nn.LocalResponseNorm:
            module.set_submodule(name, LRN(part))
    return products


class Linear(nn.Module):
    """x W^T + b, where the gradient of W stays in the same memory from pass to pass.

    `weight.grad` is None or that memory; setting it to None starts its sum anew. Fresh memory would
    be given back, and writing to 150 MB for the first time takes longer than the product itself.

    Args:
        linear: torch's module, whose parameters it takes.
        product: takes the gradient of W row by row, when that is wanted.
    """

    def __init__(self, linear: nn.Linear, product: Product) -> None:
        super().__init__()
        self.weight, self.bias, self._product = linear.weight, linear.bias, product
        self._memory: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        y: Tensor = _Product.apply(x, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return y

    def add(self, dy: Tensor, x: Tensor) -> None:
        """Add dy^T x to the weight's gradient, or update the weight by it."""
        if self._product.early is not None:
            self._product.update(dy, x)
            return
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
        dx = dy @ weight if ctx.needs_input_grad[0] else None  # before the weight changes
        ctx.linear.add(dy, x)
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
    """Caffe's loss without ignore_label, in few calls.

    A GPU, which waits for calls, takes torch's own cross entropy where there is one label an image;
    the gradient of that rounds otherwise than Caffe's, and its sum over positions anew in each run.

    Args:
        layer: the layer.
        x: the shape of its scores.
        device: where it runs.
    """

    def __init__(
        self, layer: softmax.SoftmaxWithLoss, x: Shape, device: torch.device = _CPU
    ) -> None:
        super().__init__()
        self._axis, self._mode, self._device = layer.axis(len(x)), layer.mode, device
        self._set(x)

    def _set(self, x: Shape) -> None:
        """Take the labels' shape and the divisor from the scores' shape."""
        self._scores, self._shape = x, (*x[: self._axis], 1, *x[self._axis + 1 :])
        counts = np.ones(self._shape, np.bool_)
        self._scale = float(labels.normalizer(self._mode, counts, self._axis))
        outer, inner = prod(x[: self._axis]), prod(x[self._axis + 1 :])
        self._rows = (outer, x[self._axis]) if inner == 1 and self._device.type != "cpu" else None
        self._mean = self._scale == outer

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss, a scalar, of scores and labels."""
        if x.shape != self._scores:  # the data decide how many rows there are
            self._set(tuple(x.shape))
        if self._rows is None:
            index = y.reshape(self._shape).long()
            total: Tensor = _CrossEntropy.apply(x, index, self._axis, self._scale)  # type: ignore[no-untyped-call]
            return total
        logs = nn.functional.log_softmax(x.reshape(self._rows), 1, dtype=torch.float32)
        logs.data.clamp_min_(_LEAST)  # and no gradient is lost by it
        index = y.reshape(-1).long()
        reduction = "mean" if self._mean else "sum"
        loss = nn.functional.nll_loss(logs, index, ignore_index=_NO_LABEL, reduction=reduction)
        return loss if self._mean else loss / self._scale


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


_NO_LABEL = -(1 << 62) - 1  # no float32 is that
_LEAST = log(float(np.finfo(np.float32).tiny))  # Caffe's loss takes no probability below FLT_MIN
