"""A sliding window: kernel, stride, pad and dilation, and which elements each tap reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypedDict

from ..types import Dims, Shape


class WindowAttributes(TypedDict, total=False):
    """A window in the words of ONNX's operators, None where their default says the same."""

    kernel_shape: list[int]
    strides: list[int] | None
    pads: list[int] | None
    dilations: list[int] | None
    ceil_mode: int | None
    count_include_pad: int | None


@dataclass(frozen=True)
class Window:
    """A sliding window, one number a spatial axis (height before width).

    Attributes:
        kernel: taps.
        stride: input elements from one window to the next.
        pad: elements added before the axis, and behind it too unless `far` is set.
        dilation: input elements from one tap to the next.
        far: elements added behind each axis; empty where they are as many as before it.
    """

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape
    far: Shape = ()

    @property
    def behind(self) -> Shape:
        """Elements added behind each axis."""
        return self.far or self.pad

    @property
    def padded(self) -> bool:
        """Whether any side of the input is padded."""
        return any(self.pad + self.far)

    @property
    def extent(self) -> Shape:
        """The window's size with its holes, in input elements."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def plain(self) -> bool:
        """Whether each window is one element, as of a 1x1 convolution."""
        return set(self.kernel + self.stride) <= {1} and not self.padded

    def within(self, size: Shape) -> Window:
        """Return windows no larger than an input of this size needs for the same result.

        Caffe clips a window at the far pad, so a kernel need span no more than the padded input,
        and a window beyond it is empty at whatever distance.
        """
        spans = self.spans(size)
        kernel = tuple(min(k, span) for k, span in zip(self.kernel, spans, strict=True))
        stride = tuple(min(s, span + 1) for s, span in zip(self.stride, spans, strict=True))
        return replace(self, kernel=kernel, stride=stride)

    def spans(self, size: Shape) -> list[int]:
        """Return the padded sizes of an input."""
        return [n + p + q for n, p, q in zip(size, self.pad, self.behind, strict=True)]

    def overhang(self, size: Shape, out: Shape) -> Shape:
        """Return by how much the last window exceeds the input; negative if it ends before."""
        return tuple(
            (o - 1) * s - p + e - n
            for n, o, e, s, p in zip(size, out, self.extent, self.stride, self.pad, strict=True)
        )

    def ends(self, size: Dims) -> Shape:
        """Return the zeros behind each axis of a convolution's input.

        They are its pad, or more where one window exceeds the padded input; see `conv_size`.
        """
        axes = zip(size, self.pad, self.behind, self.extent, strict=True)
        return tuple(q if n is None else max(q, e - p - n) for n, p, q, e in axes)

    def attributes(self, ends: Sequence[int] | None = None) -> WindowAttributes:
        """Return the attributes for ONNX's convolutions and pools.

        Args:
            ends: elements added at the far end of each axis, where these are not `pad`.
        """
        pads = [*self.pad, *(self.behind if ends is None else ends)]
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.stride) if set(self.stride) - {1} else None,
            "pads": pads if any(pads) else None,
            "dilations": list(self.dilation) if set(self.dilation) - {1} else None,
        }

    def slices(self, axis: int, count: int) -> list[slice]:
        """Return for each tap along an axis the slice of its elements in `count` windows.

        The slices are of an input that is already padded.
        """
        s, d = self.stride[axis], self.dilation[axis]
        return [slice(t * d, t * d + s * (count - 1) + 1, s) for t in range(self.kernel[axis])]

    def taps(self, out: Shape) -> Iterator[tuple[Any, ...]]:
        """Yield for each tap in row-major order the index of its elements in `out` windows.

        The index is of the trailing axes of an input that is already padded.
        """
        for tap in product(*(self.slices(axis, count) for axis, count in enumerate(out))):
            yield (..., *tap)
