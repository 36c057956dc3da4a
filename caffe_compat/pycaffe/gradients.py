"""Backward passes by PyTorch of the layers that take the time, on the blobs' own memory.

Each reads data and gradients where they lie and writes where they belong, as they stand when
backward runs; no tape of the forward pass is kept. A function returns whether it has computed the
layer; where it has not, numpy does. Layers that are not here are memory moves, or small.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..caffe_pb2 import EltwiseParameter, LRNParameter, PoolingParameter
from ..layers.layer import canonical_axis
from ..layers.spatial import conv_window, pool_size, pool_window, rounds_up
from ..types import Array, Shape
from .blob import Blob
from .overwritten import accumulates
from .steps import Computed

_LOWEST = float(np.finfo(np.float32).min)


def available() -> bool:
    """Return whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def backward(step: Computed) -> bool:
    """Run a layer backward; return whether it was done."""
    run = _LAYERS.get(step.proto.type)
    if run is None or len(step.tops) != 1 or (step.in_place and step.proto.type not in _IN_PLACE):
        return False
    import torch

    with torch.inference_mode():
        return run(step)


def _tensor(array: Array) -> Any:
    import torch

    return torch.from_numpy(array)


def _add(blob: Blob, wanted: bool, gradient: Any) -> None:
    if wanted and gradient is not None:
        _tensor(blob.diff).add_(gradient.reshape(blob.diff.shape))


def _convolution(step: Computed) -> bool:
    """Gradients of a convolution, or of its adjoint, over one to three axes."""
    import torch

    p, bottom, top = step.layer.p, step.bottoms[0], step.tops[0]
    x, dy = bottom.data, top.diff
    axis = canonical_axis(p.axis, x.ndim)
    window = conv_window(p, x.ndim - axis - 1)
    if len(step.bottoms) > 1 or axis != 1 or window.far or not 1 <= len(window.kernel) <= 3:
        return False
    if step.proto.type == "Convolution" and p.group == 1 and _is_pointwise(window):
        _pointwise(step, window.stride)
        return True
    wants_bias = bool(p.bias_term) and step.param_propagate[1]
    dx, dw, db = torch.ops.aten.convolution_backward(
        _tensor(dy),
        _tensor(x),
        _tensor(step.blobs[0].data),
        [p.num_output] if wants_bias else None,
        window.stride,
        window.pad,
        window.dilation,
        step.proto.type == "Deconvolution",
        [0] * len(window.kernel),
        p.group,
        [step.propagate[0], step.param_propagate[0], wants_bias],
    )
    if dx is not None:
        _tensor(bottom.diff).copy_(dx)
    _add(step.blobs[0], step.param_propagate[0], dw)
    if wants_bias:
        _add(step.blobs[1], True, db)
    return True


def _is_pointwise(window: Any) -> bool:
    return set(window.kernel) == {1} and set(window.pad) == {0}


def _pointwise(step: Computed, stride: Shape) -> None:
    """Gradients of a 1x1 convolution: products of matrices, image by image."""
    product = _product()
    bottom, blobs = step.bottoms[0], step.blobs
    read = (slice(None), *(slice(None, None, s) for s in stride))  # the pixels of one image
    x, dx, dy = _tensor(bottom.data), _tensor(bottom.diff), _tensor(step.tops[0].diff)
    weight = _tensor(blobs[0].data).flatten(1)
    dw = _tensor(blobs[0].diff).view(weight.shape)
    if step.propagate[0] and set(stride) != {1}:
        dx.zero_()
    for i in range(len(x)):
        flow = dy[i].flatten(1)
        if step.param_propagate[0]:
            dw.add_(product(flow, x[i][read].flatten(1).T))
        if step.propagate[0]:
            there = dx[i][read]
            there.copy_(product(weight.T, flow).view(there.shape))
    if step.layer.p.bias_term and step.param_propagate[1]:
        _add(blobs[1], True, dy.flatten(2).sum((0, 2)))


@functools.cache
def _product() -> Callable[[Any, Any], Any]:
    """Return a function of two matrices.

    PyTorch's own product is MKL's, which is half as fast as oneDNN's on AMD's processors; PyTorch
    has the latter for its compiler only.
    """
    import torch

    def product(a: Any, b: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")

    a = torch.arange(6.0).reshape(2, 3)
    try:
        same = bool(torch.equal(product(a, a.T), a @ a.T))
    except (AttributeError, RuntimeError):  # another version's, or a build without oneDNN
        same = False
    return product if same else torch.mm


def _inner_product(step: Computed) -> bool:
    """Gradients of y = x W^T + b, added to the weights' in one pass over them."""
    p, bottom, top = step.layer.p, step.bottoms[0], step.tops[0]
    axis = canonical_axis(p.axis, bottom.data.ndim)
    shape: Shape = bottom.data.shape
    x = _tensor(bottom.data).reshape(prod(shape[:axis]), prod(shape[axis:]))
    dy = _tensor(top.diff).reshape(len(x), p.num_output)
    weight = _tensor(step.blobs[0].data)
    if step.param_propagate[0]:
        pair = (x.T, dy) if p.transpose else (dy.T, x)
        _tensor(step.blobs[0].diff).addmm_(*pair)
    if p.bias_term and step.param_propagate[1]:
        _tensor(step.blobs[1].diff).add_(dy.sum(0))
    if step.propagate[0]:
        out = _tensor(bottom.diff).reshape(x.shape)
        out.copy_(dy @ (weight.T if p.transpose else weight))
    return True


def _pooling(step: Computed) -> bool:
    """Gradients of MAX and AVE, whose windows PyTorch clips as Caffe does."""
    import torch

    p, bottom, top = step.layer.p, step.bottoms[0], step.tops[0]
    x, dy = _tensor(bottom.data), _tensor(top.diff)
    size = tuple(x.shape[2:])
    ceil = rounds_up(p)
    window = pool_window(p, size)
    out = pool_size(size, window, ceil=ceil)
    if window.far or any(
        2 * pad > kernel for pad, kernel in zip(window.pad, window.kernel, strict=True)
    ):
        return False
    if any(
        (o - 1) * s >= n + q
        for o, s, n, q in zip(out, window.stride, size, window.pad, strict=True)
    ):
        return False  # a window that lies off the image
    if not step.propagate[0]:
        return True
    if p.pool == PoolingParameter.MAX:
        _, places = torch.ops.aten.max_pool2d_with_indices(
            x.contiguous(memory_format=torch.channels_last),  # PyTorch is 3 times as fast at it
            window.kernel, window.stride, window.pad, [1, 1], ceil,
        )  # fmt: skip
        if tuple(places.shape) != tuple(dy.shape):
            return False
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            dy, x, window.kernel, window.stride, window.pad, [1, 1], ceil, places.contiguous(),
            grad_input=_tensor(bottom.diff),
        )  # fmt: skip
        return True
    if p.pool != PoolingParameter.AVE or not _same_size(size, out, window, ceil=ceil):
        return False
    torch.ops.aten.avg_pool2d_backward.grad_input(
        dy, x, window.kernel, window.stride, window.pad, ceil, True, None,
        grad_input=_tensor(bottom.diff),
    )  # fmt: skip
    return True


def _same_size(size: Shape, out: Shape, window: Any, *, ceil: bool) -> bool:
    """Whether PyTorch's rounding gives Caffe's output size."""
    for n, o, k, s, q in zip(size, out, window.kernel, window.stride, window.pad, strict=True):
        span = n + 2 * q - k
        most = (-(-span // s) if ceil else span // s) + 1
        if ceil and (most - 1) * s >= n + q:
            most -= 1
        if most != o:
            return False
    return True


def _lrn(step: Computed) -> bool:
    """Gradient across channels (lrn_layer.cpp), the norm computed again."""
    import torch

    p, bottom = step.layer.p, step.bottoms[0]
    if p.norm_region == LRNParameter.WITHIN_CHANNEL:
        return False
    if not step.propagate[0]:
        return True
    x, dy, out = _tensor(bottom.data), _tensor(step.tops[0].diff), _tensor(bottom.diff)
    rate = p.alpha / p.local_size
    for i in range(len(x)):  # one image stays in the cache
        here, flow = x[i : i + 1], dy[i : i + 1]
        norm = _window_sum(here * here, p.local_size).mul_(rate).add_(p.k)
        if p.beta == 0.75:
            root = norm.rsqrt()
            power = root * root.sqrt()
        else:
            power = norm.pow(-p.beta)
        along = _window_sum((here * power).mul_(flow).div_(norm), p.local_size)
        torch.mul(flow, power, out=out[i : i + 1]).addcmul_(here, along, value=-2 * rate * p.beta)
    return True


def _window_sum(x: Any, size: int) -> Any:
    """Sum over the `size` (odd) channels around each, by shifted additions."""
    total = x.clone()
    for shift in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return total


def _relu(step: Computed) -> bool:
    """Gradient of the rectifier, by the bottom as it stands."""
    import torch

    slope, bottom = step.layer.p.negative_slope, step.bottoms[0]
    if not step.propagate[0]:
        return True
    x, dy, out = _tensor(bottom.data), _tensor(step.tops[0].diff), _tensor(bottom.diff)
    if slope:
        torch.ops.aten.leaky_relu_backward.grad_input(dy, x, slope, False, grad_input=out)
    else:
        torch.ops.aten.threshold_backward.grad_input(dy, x, 0, grad_input=out)
    return True


def _batch_norm(step: Computed) -> bool:
    """Gradient where the stored moments normalise."""
    if not getattr(step.layer, "stored", False):
        return False
    if not step.propagate[0]:
        return True
    factor = step.blobs[2].data[0]
    rate = np.float32(1 / factor) if factor else np.float32(0)
    deviation = np.sqrt(step.blobs[1].data * rate + np.float32(step.layer.p.eps))
    import torch

    bottom = step.bottoms[0]
    shape = (-1,) + (1,) * (bottom.data.ndim - 2)
    divisor = _tensor(deviation).reshape(shape)
    torch.div(_tensor(step.tops[0].diff), divisor, out=_tensor(bottom.diff))
    return True


def _scale(step: Computed) -> bool:
    """Gradients of a factor and a bias for each channel.

    In place the product with the gradient is written over the bottom that the layer keeps
    (scale_layer.cpp).
    """
    import torch

    bottom, factor = step.bottoms[0], step.blobs[0] if step.blobs else None
    x = step.kept if step.in_place else bottom.data
    if len(step.bottoms) > 1 or factor is None or x is None or x.shape != bottom.data.shape:
        return False
    channels = canonical_axis(step.layer.p.axis, x.ndim) == 1 and x.ndim > 1
    if not channels or factor.data.shape != x.shape[1:2] or not accumulates(step):
        return False
    dy = _tensor(step.tops[0].diff)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    if step.param_propagate[0]:
        kept = _tensor(x) if step.in_place else torch.empty_like(dy)
        torch.mul(dy, _tensor(x), out=kept)
        _add(factor, True, kept.sum(axes))
    if step.layer.p.bias_term and step.param_propagate[1]:
        _add(step.blobs[1], True, dy.sum(axes))
    if step.propagate[0]:
        factors = _tensor(factor.data).reshape((-1,) + (1,) * (x.ndim - 2))
        torch.mul(dy, factors, out=_tensor(bottom.diff))
    return True


def _eltwise(step: Computed) -> bool:
    """Gradients of a sum."""
    p = step.layer.p
    if p.operation != EltwiseParameter.SUM or len(p.coeff) not in (0, len(step.bottoms)):
        return False
    dy = _tensor(step.tops[0].diff)
    for i, (bottom, wanted) in enumerate(zip(step.bottoms, step.propagate, strict=True)):
        if wanted:
            out = _tensor(bottom.diff).copy_(dy)
            if p.coeff:
                out.mul_(p.coeff[i])
    return True


_LAYERS: dict[str, Callable[[Computed], bool]] = {
    "BatchNorm": _batch_norm,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Eltwise": _eltwise,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Scale": _scale,
}
_IN_PLACE = {"BatchNorm", "ReLU", "Scale"}  # whose functions may write over what they read
