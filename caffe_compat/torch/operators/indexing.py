"""Operators that read or write elements at places which other tensors name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .whole import whole


def Compress(x: Tensor, condition: Tensor, axis: int | None = None) -> Tensor:
    rows = torch.flatten(torch.nonzero(condition))
    return torch.index_select(torch.flatten(x) if axis is None else x, axis or 0, rows)


@whole
def Gather(x: Tensor, indices: Tensor | int, axis: int = 0) -> Tensor:
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


def GatherElements(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    return torch.gather(x, axis, indices)


@whole
def GatherND(x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    """Read the places along the last axis of `indices`, of each of the first `batch_dims` axes."""
    batch = [
        torch.arange(x.shape[i], device=x.device).reshape(
            -1, *(1,) * (indices.ndim - 2 - i)
        )
        for i in range(batch_dims)
    ]
    return x[(*batch, *indices.unbind(-1))]


def NonZero(x: Tensor) -> Tensor:
    return torch.permute(torch.nonzero(x), (1, 0))


@whole
def OneHot(indices: Tensor, depth: int, values: Tensor, axis: int = -1) -> Tensor:
    rank = indices.ndim + 1
    shape = [-1 if i == axis % rank else 1 for i in range(rank)]
    classes = torch.arange(depth, device=indices.device).reshape(shape)
    chosen = torch.where(indices < 0, indices + depth, indices).unsqueeze(axis)
    return torch.where(chosen == classes, values[1], values[0])


def ScatterElements(
    x: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, reduction: str = "none"
) -> Tensor:
    if reduction == "none":
        return torch.scatter(x, axis, indices, updates)
    kind = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}[reduction]
    return torch.scatter_reduce(x, axis, indices, updates, kind)


@whole
def ScatterND(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    places: Sequence[Tensor] = indices.unbind(-1)
    return x.index_put(tuple(places), updates)


@whole
def Unique(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return sorted values, where each is first, which of them each element is, and counts."""
    values, which, counts = torch.unique(x, return_inverse=True, return_counts=True)
    which = which.flatten()
    places = torch.arange(which.shape[0], device=x.device)
    first = torch.full_like(counts, which.shape[0]).scatter_reduce(
        0, which, places, "amin"
    )
    return values, first, which, counts
