"""Gradients of layers that normalise, and of the factors behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...caffe_pb2 import LRNParameter
from ...layers.axes import canonical_axis
from ..blob import shape_of
from ..overwritten import anew
from ..placement import place
from ..steps import Computed
from . import tensors


def lrn(step: Computed) -> bool:
    """Gradient across channels (lrn_layer.cpp), the norm computed again."""
    import torch

    p = step.layer.p
    if p.norm_region == LRNParameter.WITHIN_CHANNEL:
        return False
    if not step.propagate[0]:
        return True
    x, y = tensors.data(step.bottoms[0]), tensors.data(step.tops[0])  # y as it is left
    dy, out = tensors.diff(step.tops[0]), tensors.diff(step.bottoms[0])
    rate = p.alpha / p.local_size
    images = 1 if place() is None else len(x)  # one image stays in a CPU's cache
    for start in range(0, len(x), images):
        here, left, flow, result = (a[start : start + images] for a in (x, y, dy, out))
        norm = _window_sum(here * here, p.local_size).mul_(rate).add_(p.k)
        if p.beta == 0.75:
            root = norm.rsqrt()
            power = root * root.sqrt()
        else:
            power = norm.pow(-p.beta)
        along = _window_sum((left * flow).div_(norm), p.local_size)
        torch.mul(flow, power, out=result).addcmul_(here, along, value=-2 * rate * p.beta)
    return True


def _window_sum(x: Any, size: int) -> Any:
    """Sum over the `size` (odd) channels around each, by shifted additions."""
    total = x.clone()
    for shift in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return total


def batch_norm(step: Computed) -> bool:
    """Gradient where the stored moments normalise."""
    import torch

    if not getattr(step.layer, "stored", False):
        return False
    if not step.propagate[0]:
        return True
    factor = step.blobs[2].data[0]
    rate = np.float32(1 / factor) if factor else np.float32(0)
    deviation = np.sqrt(step.blobs[1].data * rate + np.float32(step.layer.p.eps))
    dx = tensors.diff(step.bottoms[0])
    divisor = torch.from_numpy(deviation).to(dx.device).view(-1, *(1,) * (dx.ndim - 2))
    torch.div(tensors.diff(step.tops[0]), divisor, out=dx)
    return True


def scale(step: Computed) -> bool:
    """Compute the gradients of a factor and a bias for each channel.

    In place the product with the gradient is written over the bottom that the layer keeps
    (scale_layer.cpp).
    """
    import torch

    if len(step.bottoms) > 1 or not step.blobs:
        return False
    source = step.kept if step.in_place else step.bottoms[0]
    shape = shape_of(step.bottoms[0])
    if source is None or shape_of(source) != shape or len(shape) < 2:
        return False
    by_channel = shape_of(step.blobs[0]) == shape[1:2]
    if canonical_axis(step.layer.p.axis, len(shape)) != 1 or not by_channel:
        return False
    if anew(step):
        return False
    x, dy = tensors.data(source), tensors.diff(step.tops[0])
    axes = [axis for axis in range(len(shape)) if axis != 1]
    if step.param_propagate[0]:
        product = x if step.in_place else torch.empty_like(dy)
        tensors.add(step.blobs[0], torch.mul(dy, x, out=product).sum(axes))
    if step.layer.p.bias_term and step.param_propagate[1]:
        tensors.add(step.blobs[1], dy.sum(axes))
    if step.propagate[0]:
        factors = tensors.data(step.blobs[0]).view(-1, *(1,) * (len(shape) - 2))
        torch.mul(dy, factors, out=tensors.diff(step.bottoms[0]))
    return True
