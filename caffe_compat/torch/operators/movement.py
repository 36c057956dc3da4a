"""Operators that move elements, or make tensors of a size that is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UnsupportedError
from .whole import whole

Sizes: TypeAlias = tuple[int, ...]


def Concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def ConstantOfShape(
    shape: Sizes, value: float = 0.0, device: torch.device | None = None
) -> Tensor:
    return torch.full(shape, value, device=device)


@whole
def Expand(x: Tensor, shape: Sizes) -> Tensor:
    """Broadcast, as ONNX does, both ways; torch's expand goes one."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


def Flatten(x: Tensor, axis: int = 1) -> Tensor:
    return x.reshape((x.size(0), -1)) if axis == 1 else _flatten_at(x, axis)


@whole
def _flatten_at(x: Tensor, axis: int) -> Tensor:
    rows = math.prod(x.shape[: axis + x.ndim if axis < 0 else axis])
    return torch.reshape(x, (rows, -1))


@whole
def Pad(
    x: Tensor,
    pads: Sizes,
    value: float = 0.0,
    axes: Sizes | None = None,
    mode: str = "constant",
) -> Tensor:
    """Pad; torch names the last axis first, and the two ends of an axis side by side."""
    if mode != "constant":
        raise UnsupportedError(f"Pad in the mode {mode} has no torch form")
    places = [axis % x.ndim for axis in (range(x.ndim) if axes is None else axes)]
    ends = dict(zip(places, zip(pads, pads[len(places) :], strict=False), strict=True))
    pairs = [ends.get(axis, (0, 0)) for axis in reversed(range(x.ndim))]
    return F.pad(x, [n for pair in pairs for n in pair], value=value)


def Range(
    start: int, limit: int, delta: int, device: torch.device | None = None
) -> Tensor:
    return torch.arange(start, limit, delta, device=device)


def Reshape(x: Tensor, shape: Sizes) -> Tensor:
    return x.reshape([x.size(i) if n == 0 else n for i, n in enumerate(shape)])


@whole
def Slice(
    x: Tensor,
    starts: Sizes,
    ends: Sizes,
    axes: Sizes | None = None,
    steps: Sizes | None = None,
) -> Tensor:
    """Slice; torch has no negative steps, so such an axis is turned round first."""
    index = [slice(None)] * x.ndim
    for i, axis in enumerate(range(len(starts)) if axes is None else axes):
        step = 1 if steps is None else steps[i]
        index[axis] = slice(starts[i], ends[i], step)
        if step < 0:
            first, last, _ = index[axis].indices(x.shape[axis])
            x, end = x.flip(axis), x.shape[axis] - 1
            index[axis] = slice(end - first, end - last, -step)
    return x[tuple(index)]


def Split(
    x: Tensor, sizes: Sizes | None = None, axis: int = 0, num_outputs: int = 1
) -> Sequence[Tensor]:
    return (
        torch.chunk(x, num_outputs, axis)
        if sizes is None
        else torch.split(x, [*sizes], axis)
    )


def Squeeze(x: Tensor, axes: Sizes | None = None) -> Tensor:
    return torch.squeeze(x) if axes is None else torch.squeeze(x, axes)


@whole
def DepthToSpace(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    if (
        mode == "DCR"
    ):  # the squares' numbers apart among the channels, torch's side by side
        parts = x.reshape(x.shape[0], blocksize**2, -1, *x.shape[2:])
        x = parts.transpose(1, 2).reshape(x.shape)
    return F.pixel_shuffle(x, blocksize)


def Tile(x: Tensor, repeats: Sizes) -> Tensor:
    return torch.tile(x, repeats)


def Transpose(x: Tensor, perm: Sizes) -> Tensor:
    return torch.permute(x, perm)


def Unsqueeze(x: Tensor, axes: Sizes) -> Tensor:
    for axis in sorted(axes):
        x = torch.unsqueeze(x, axis)
    return x
