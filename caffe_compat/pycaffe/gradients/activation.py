"""Gradient of the rectifier."""

from __future__ import annotations

from ..steps import Computed
from . import tensors


def relu(step: Computed) -> bool:
    """Gradient of ReLU, by the bottom as it stands."""
    import torch

    if not step.propagate[0]:
        return True
    slope, bottom = step.layer.p.negative_slope, step.bottoms[0]
    x, dy, out = tensors.data(bottom), tensors.diff(step.tops[0]), tensors.diff(bottom)
    if slope:
        torch.ops.aten.leaky_relu_backward.grad_input(dy, x, slope, False, grad_input=out)
    else:
        torch.ops.aten.threshold_backward.grad_input(dy, x, 0, grad_input=out)
    return True
