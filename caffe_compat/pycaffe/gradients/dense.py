"""Gradients of InnerProduct, which has most of an old net's weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...types import Array
from ..placement import place
from ..steps import Computed
from . import tensors
from .products import fast_product

_BLOCK = 1 << 20  # values of a product that is still in the cache when it is added


def inner_product(step: Computed) -> bool:
    """Compute the gradients of y = x W^T + b by PyTorch.

    On one thread numpy's product is the faster one. On several its own threads, which wait for work
    by spinning, would stand in the way of PyTorch's.
    """
    import torch

    if place() is None and torch.get_num_threads() == 1:
        return by_blocks(step, _multiply)
    transpose, outputs = step.layer.p.transpose, step.layer.p.num_output
    dy = tensors.diff(step.tops[0]).view(-1, outputs)
    x = tensors.data(step.bottoms[0]).view(len(dy), -1)
    if step.param_propagate[0]:
        left, right = (x, dy) if transpose else (dy, x)
        tensors.add_product(step.blobs[0], left, right)
    if step.layer.p.bias_term and step.param_propagate[1]:
        tensors.add(step.blobs[1], dy.sum(0))
    if step.propagate[0]:
        weight, dx = tensors.data(step.blobs[0]), tensors.diff(step.bottoms[0])
        product = fast_product() if place() is None else torch.mm
        dx.copy_(product(dy, weight.T if transpose else weight).view(dx.shape))
    return True


def by_blocks(step: Computed, multiply: Callable[[Array, Array], Array] = np.matmul) -> bool:
    """Compute the gradients of y = x W^T + b, those of the weights in blocks, which is faster."""
    transpose, outputs = step.layer.p.transpose, step.layer.p.num_output
    dy = step.tops[0].diff.reshape(-1, outputs)
    x = step.bottoms[0].data.reshape(len(dy), -1)
    if step.param_propagate[0]:
        _add_product(step.blobs[0].diff, *((x, dy) if transpose else (dy, x)))
    if step.layer.p.bias_term and step.param_propagate[1]:
        step.blobs[1].diff[...] += dy.sum(0)
    if step.propagate[0]:
        weight, dx = step.blobs[0].data, step.bottoms[0].diff
        dx[...] = multiply(dy, weight.T if transpose else weight).reshape(dx.shape)
    return True


def _add_product(total: Array, left: Array, right: Array) -> None:
    """Add the product of left^T and right."""
    rows, columns = total.shape
    size = min(rows, max(1, _BLOCK // max(1, columns)))
    block = np.empty((size, columns), np.float32)
    for start in range(0, rows, size):
        part = total[start : start + size]
        part += np.matmul(left.T[start : start + size], right, out=block[: len(part)])


def _multiply(a: Array, b: Array) -> Array:
    import torch

    product: Array = fast_product()(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    return product
