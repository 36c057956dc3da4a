"""Gradients of MAX and AVE pooling, whose windows PyTorch clips as Caffe does."""

from __future__ import annotations

from ...caffe_pb2 import PoolingParameter
from ...layers.spatial import pool_size, pool_window, rounds_up
from ...layers.window import Window
from ...types import Shape
from ..blob import shape_of
from ..steps import Computed
from . import tensors


def pooling(step: Computed) -> bool:
    """Compute the gradients of Pooling."""
    p = step.layer.p
    if p.pool not in (PoolingParameter.MAX, PoolingParameter.AVE):
        return False
    size = shape_of(step.bottoms[0])[2:]
    ceil = rounds_up(p)
    window = pool_window(p, size)
    if not _fits(size, pool_size(size, window, ceil=ceil), window, ceil=ceil):
        return False
    if step.propagate[0]:
        (_max if p.pool == PoolingParameter.MAX else _mean)(step, window, ceil=ceil)
    return True


def _fits(size: Shape, out: Shape, window: Window, *, ceil: bool) -> bool:
    """Return whether PyTorch takes the window, and its rounding gives Caffe's output size."""
    if window.far:
        return False
    for n, o, k, s, q in zip(size, out, window.kernel, window.stride, window.pad, strict=True):
        span = n + 2 * q - k
        most = (-(-span // s) if ceil else span // s) + 1
        if ceil and (most - 1) * s >= n + q:
            most -= 1
        # its pads are at most half a window, and no window lies off the image
        if most != o or 2 * q > k or (o - 1) * s >= n + q:
            return False
    return True


def _max(step: Computed, window: Window, *, ceil: bool) -> None:
    import torch

    x, dx = tensors.data(step.bottoms[0]), tensors.diff(step.bottoms[0])
    options = (window.kernel, window.stride, window.pad, [1, 1], ceil)
    _, places = torch.ops.aten.max_pool2d_with_indices(
        x.contiguous(memory_format=torch.channels_last),  # PyTorch is 3 times as fast at it
        *options,
    )
    torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
        tensors.diff(step.tops[0]), x, *options, places.contiguous(), grad_input=dx
    )


def _mean(step: Computed, window: Window, *, ceil: bool) -> None:
    import torch

    torch.ops.aten.avg_pool2d_backward.grad_input(
        tensors.diff(step.tops[0]), tensors.data(step.bottoms[0]),
        window.kernel, window.stride, window.pad, ceil, True, None,
        grad_input=tensors.diff(step.bottoms[0]),
    )  # fmt: skip
