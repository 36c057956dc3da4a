"""Gradients of a convolution, or of its adjoint, over one to three axes."""

from __future__ import annotations

from typing import Any

from ...layers.axes import canonical_axis
from ...layers.spatial import conv_window
from ...layers.window import Window
from ...types import Shape
from ..blob import shape_of
from ..placement import place
from ..steps import Computed
from . import tensors
from .products import fast_product

_FEW_CHANNELS = 4  # an image's, for which oneDNN has no fast gradient where the stride is not 1


def convolution(step: Computed) -> bool:
    """Compute the gradients of Convolution and Deconvolution."""
    p, shape = step.layer.p, shape_of(step.bottoms[0])
    axis = canonical_axis(p.axis, len(shape))
    window = conv_window(p, len(shape) - axis - 1)
    if len(step.bottoms) > 1 or axis != 1 or window.far or not 1 <= len(window.kernel) <= 3:
        return False
    plain = step.proto.type == "Convolution" and p.group == 1 and place() is None
    if plain and set(window.kernel) == {1} and not window.padded:
        _pointwise(step, window.stride)
        return True
    spread = plain and step.propagate[0] and _is_strided(window) and shape[1] <= _FEW_CHANNELS
    if spread:
        _spread(step, window)
    _general(step, window, bottom=step.propagate[0] and not spread)
    return True


def _general(step: Computed, window: Window, *, bottom: bool) -> None:
    """Write PyTorch's gradients, that of the bottom where it is wanted."""
    import torch

    p = step.layer.p
    wants_bias = bool(p.bias_term) and step.param_propagate[1]
    dx, dw, db = torch.ops.aten.convolution_backward(
        tensors.diff(step.tops[0]),
        tensors.data(step.bottoms[0]),
        tensors.data(step.blobs[0]),
        [p.num_output] if wants_bias else None,
        window.stride,
        window.pad,
        window.dilation,
        step.proto.type == "Deconvolution",
        [0] * len(window.kernel),
        p.group,
        [bottom, step.param_propagate[0], wants_bias],
    )
    if bottom:
        tensors.diff(step.bottoms[0]).copy_(dx)
    if step.param_propagate[0]:
        tensors.add(step.blobs[0], dw)
    if wants_bias:
        tensors.add(step.blobs[1], db)


def _is_strided(window: Window) -> bool:
    """Return whether a window moves by the same step, above 1, down and to the right."""
    down, *right = window.stride
    return down > 1 and right == [down] and set(window.dilation) == {1}


def _spread(step: Computed, window: Window) -> None:
    """Write the gradient at an image with squares of `stride` pixels as channels.

    The convolution has stride 1 then, and a kernel that is padded to whole squares.
    """
    import torch
    from torch.nn import functional

    weight, dy, dx = (
        tensors.data(step.blobs[0]), tensors.diff(step.tops[0]), tensors.diff(step.bottoms[0])
    )  # fmt: skip
    side = window.stride[0]
    behind = [-k % side for k in window.kernel]
    squares = functional.pixel_unshuffle(functional.pad(weight, (0, behind[1], 0, behind[0])), side)
    size = (n + k - 1 for n, k in zip(dy.shape[2:], squares.shape[2:], strict=True))
    flow, _, _ = torch.ops.aten.convolution_backward(
        dy, dy.new_empty(len(dy), squares.shape[1], *size), squares, None,
        [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False],
    )  # fmt: skip
    (up, left), (height, width) = window.pad, dx.shape[2:]
    image = functional.pixel_shuffle(flow, side)[:, :, up : up + height, left : left + width]
    if image.shape != dx.shape:
        dx.zero_()  # no window reaches the last rows or columns
    dx[:, :, : image.shape[2], : image.shape[3]] = image


def _pointwise(step: Computed, stride: Shape) -> None:
    """Compute the gradients of a 1x1 convolution: products of matrices, image by image."""
    product = fast_product()
    blobs = step.blobs
    pixels = (slice(None), *(slice(None, None, s) for s in stride))  # that one image's windows read
    x, dx = tensors.data(step.bottoms[0]), tensors.diff(step.bottoms[0])
    dy, weight = tensors.diff(step.tops[0]), tensors.data(blobs[0]).flatten(1)
    dw: Any = tensors.diff(blobs[0]).view(weight.shape)
    if step.propagate[0] and set(stride) != {1}:
        dx.zero_()
    for i in range(len(x)):
        flow = dy[i].flatten(1)
        if step.param_propagate[0]:
            dw.add_(product(flow, x[i][pixels].flatten(1).T))
        if step.propagate[0]:
            target = dx[i][pixels]
            target.copy_(product(weight.T, flow).view(target.shape))
    if step.layer.p.bias_term and step.param_propagate[1]:
        tensors.add(blobs[1], dy.flatten(2).sum((0, 2)))
