"""ONNX's operators that torch has a module for: what `print(module)` shows under a layer's name.

Each function returns None where the module does not do all that the operator is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, TypeAlias

import onnx
from torch import nn

from ..types import Dims, Shape
from .operators.pooling import rounding
from .writer import option

Sizes: TypeAlias = tuple[int, ...]
Made: TypeAlias = "nn.Module | None"

# The parameters of a module, in the order of the operator's inputs behind the first.
PARAMS = ("weight", "bias")


def make(node: onnx.NodeProto, params: Mapping[str, Shape], dims: Dims) -> nn.Module | None:
    """Return the module that an ONNX node is, with its parameters left out (on the meta device).

    Args:
        node: the node, whose inputs behind the first must be parameters.
        params: the shapes of the parameters by the names under which nodes read them.
        dims: the shape of the first input; () where it is not known.
    """
    function = globals().get(node.op_type)
    fits = len(node.output) == 1 and all(name in params for name in node.input[1:])
    if function is None or not fits:
        return None
    options = {part.name: option(part) for part in node.attribute}
    module: nn.Module | None = function(dims, *(params[n] for n in node.input[1:]), **options)
    return module


_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DECONV = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_MEAN = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def _windows(
    weight: Shape,
    strides: Sizes | None,
    pads: Sizes | None,
    dilations: Sizes | None,
) -> dict[str, Any] | None:
    rank = len(weight) - 2
    begins, ends = tuple(pads or ())[:rank], tuple(pads or ())[rank:]
    if begins != ends or rank > len(_CONV):
        return None
    return {
        "kernel_size": weight[2:],
        "stride": strides or 1,
        "padding": begins or 0,
        "dilation": dilations or 1,
        "device": "meta",
    }


def Conv(
    dims: Dims,
    weight: Shape,
    bias: Shape | None = None,
    *,
    kernel_shape: Sizes,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    dilations: Sizes | None = None,
    group: int = 1,
) -> Made:
    windows = _windows(weight, strides, pads, dilations)
    if windows is None:
        return None
    ends = (weight[1] * group, weight[0])
    return _CONV[len(weight) - 3](*ends, groups=group, bias=bias is not None, **windows)


def ConvTranspose(
    dims: Dims,
    weight: Shape,
    bias: Shape | None = None,
    *,
    kernel_shape: Sizes,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    dilations: Sizes | None = None,
    group: int = 1,
) -> Made:
    windows = _windows(weight, strides, pads, dilations)
    if windows is None:
        return None
    ends = (weight[0], weight[1] * group)
    return _DECONV[len(weight) - 3](*ends, groups=group, bias=bias is not None, **windows)


def Gemm(dims: Dims, weight: Shape, bias: Shape | None = None, *, transB: int = 0) -> Made:
    if not transB:
        return None
    return nn.Linear(weight[1], weight[0], bias is not None, device="meta")


def PRelu(dims: Dims, slope: Shape) -> Made:
    return nn.PReLU(prod(slope), device="meta")


def AveragePool(
    dims: Dims,
    *,
    kernel_shape: Sizes,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Made:
    rank = len(kernel_shape)
    strides, pads = strides or (1,) * rank, pads or (0,) * 2 * rank
    up = rounding(dims[2:] or (None,) * rank, kernel_shape, strides, pads, ceil_mode)
    if up is None or (any(pads[:rank]) and not count_include_pad):
        return None
    return _MEAN[rank - 1](_one(kernel_shape), _one(strides), _one(pads[:rank]), up)


def MaxPool(
    dims: Dims,
    *,
    kernel_shape: Sizes,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    ceil_mode: int = 0,
) -> Made:
    rank = len(kernel_shape)
    strides, pads = strides or (1,) * rank, pads or (0,) * 2 * rank
    up = rounding(dims[2:] or (None,) * rank, kernel_shape, strides, pads, ceil_mode)
    if up is None:
        return None
    return _MAX[rank - 1](_one(kernel_shape), _one(strides), _one(pads[:rank]), ceil_mode=up)


def _one(sizes: Sizes) -> Any:
    """Return one number where all are the same, as people write it."""
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)


def Elu(dims: Dims, *, alpha: float = 1.0) -> Made:
    return nn.ELU(alpha)


def GlobalAveragePool(dims: Dims) -> Made:
    return nn.AdaptiveAvgPool2d(1) if len(dims) == 4 else None


def GlobalMaxPool(dims: Dims) -> Made:
    return nn.AdaptiveMaxPool2d(1) if len(dims) == 4 else None


def HardSwish(dims: Dims) -> Made:
    return nn.Hardswish()


def LRN(
    dims: Dims, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Made:
    return nn.LocalResponseNorm(size, alpha, beta, bias)


def LeakyRelu(dims: Dims, *, alpha: float = 0.01) -> Made:
    return nn.LeakyReLU(alpha)


def Mish(dims: Dims) -> Made:
    return nn.Mish()


def Relu(dims: Dims) -> Made:
    return nn.ReLU()


def Sigmoid(dims: Dims) -> Made:
    return nn.Sigmoid()


def Softmax(dims: Dims, *, axis: int = -1) -> Made:
    return nn.Softmax(axis)


def Softplus(dims: Dims) -> Made:
    return nn.Softplus()


def Tanh(dims: Dims) -> Made:
    return nn.Tanh()
