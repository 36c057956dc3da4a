"""Gradients that are moved or added, and computed no further."""

from __future__ import annotations

from ...caffe_pb2 import EltwiseParameter
from ...layers.families.concat import Concat
from ..steps import Computed
from . import tensors


def eltwise(step: Computed) -> bool:
    """Compute the gradients of a sum."""
    p = step.layer.p
    if p.operation != EltwiseParameter.SUM or len(p.coeff) not in (0, len(step.bottoms)):
        return False
    dy = tensors.diff(step.tops[0])
    for i, (bottom, wanted) in enumerate(zip(step.bottoms, step.propagate, strict=True)):
        if wanted:
            out = tensors.diff(bottom).copy_(dy)
            if p.coeff:
                out.mul_(p.coeff[i])
    return True


def concat(step: Computed) -> bool:
    """Compute the gradients of the parts of a Concat, each its piece of the top's."""
    layer = step.layer
    if step.shares or not isinstance(layer, Concat):
        return False
    dy = tensors.diff(step.tops[0])
    axis, start = layer.axis(dy.ndim), 0
    for bottom, wanted in zip(step.bottoms, step.propagate, strict=True):
        size = bottom.shape[axis]
        if wanted:
            tensors.diff(bottom).copy_(dy.narrow(axis, start, size))
        start += size
    return True


def split(step: Computed) -> bool:
    """Gradient of a Split: the sum of its tops'."""
    import torch

    if not step.propagate[0]:
        return True
    if len(step.tops) < 2:
        return False
    first, second, *others = map(tensors.diff, step.tops)
    total = torch.add(first, second, out=tensors.diff(step.bottoms[0]))
    for other in others:
        total.add_(other)
    return True
