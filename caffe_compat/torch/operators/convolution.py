"""Convolutions, and products of matrices."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from .whole import whole

Sizes: TypeAlias = tuple[int, ...]
_CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@whole
def Conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sizes | None = None,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    dilations: Sizes | None = None,
    group: int = 1,
) -> Tensor:
    rank = weight.ndim - 2
    ones = (1,) * rank
    pads = pads or (0,) * 2 * rank
    padding, ends = tuple(pads[:rank]), tuple(pads[rank:])
    if padding != ends:  # torch names the last axis first
        pairs = reversed(list(zip(padding, ends, strict=True)))
        x, padding = F.pad(x, [n for pair in pairs for n in pair]), (0,) * rank
    convolve = _CONVOLVE[rank - 1]
    return convolve(
        x,
        weight,
        bias,
        tuple(strides or ones),
        padding,
        tuple(dilations or ones),
        group,
    )


@whole
def ConvTranspose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sizes | None = None,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    dilations: Sizes | None = None,
    output_padding: Sizes | None = None,
    group: int = 1,
) -> Tensor:
    rank = weight.ndim - 2
    ones, zeros = (1,) * rank, (0,) * rank
    padding = tuple(pads or ())[:rank] or zeros
    transpose = _TRANSPOSED[rank - 1]
    more = tuple(output_padding or zeros), group, tuple(dilations or ones)
    return transpose(x, weight, bias, tuple(strides or ones), padding, *more)


def Gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    a, b = (torch.t(a) if transA else a), (torch.t(b) if transB else b)
    if c is None:
        return torch.matmul(a, b) * alpha if alpha != 1 else torch.matmul(a, b)
    return torch.addmm(c, a, b, beta=beta, alpha=alpha)


def MatMul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)
