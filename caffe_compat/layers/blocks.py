"""Blocks of channels that become squares of positions (TensorFlow's depth_to_space)."""

from __future__ import annotations

from ..errors import ShapeError
from ..types import Array, Shape
from .builder import Builder


def spread_shape(x: Shape, side: int) -> Shape:
    """Return the shape of an image whose side^2 channels become squares of `side`.

    Raises:
        ShapeError: the channels are no multiple of side^2, or there are not 4 axes.
    """
    if len(x) != 4 or side < 1 or x[1] % side**2:
        raise ShapeError(f"needs 4 axes and channels that {side} x {side} divides, and has {x}")
    return (x[0], x[1] // side**2, x[2] * side, x[3] * side)


def spread(x: Array, side: int, *, channels_first: bool) -> Array:
    """Return (N, C side^2, H, W) as (N, C, H side, W side).

    Args:
        x: the image.
        side: of a square.
        channels_first: whether the side^2 numbers of a square are neighbours among the channels
            (PyTorch's PixelShuffle); else they are C channels apart (TensorFlow's).
    """
    n, _, height, width = x.shape
    shape = spread_shape(x.shape, side)
    order = (0, 1, 4, 2, 5, 3) if channels_first else (0, 3, 4, 1, 5, 2)
    parts = (shape[1], side, side) if channels_first else (side, side, shape[1])
    return x.reshape(n, *parts, height, width).transpose(order).reshape(shape)


def gather(y: Array, side: int, *, channels_first: bool) -> Array:
    """Undo `spread`."""
    n, c, height, width = y.shape
    parts = y.reshape(n, c, height // side, side, width // side, side)
    order = (0, 1, 3, 5, 2, 4) if channels_first else (0, 3, 5, 1, 2, 4)
    return parts.transpose(order).reshape(n, c * side**2, height // side, width // side)


def lower_spread(g: Builder, x: str, side: int, *, channels_first: bool) -> str:
    """Write `spread` in ONNX."""
    return g.DepthToSpace(x, blocksize=side, mode="CRD" if channels_first else "DCR")
