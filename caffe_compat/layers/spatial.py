"""Kernel, stride, pad and dilation, and the sizes that follow, for all layers with windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypedDict

from ..caffe_pb2 import ConvolutionParameter, PoolingParameter
from ..errors import ShapeError, UnsupportedError
from ..types import Dims, Shape

_LARGEST = 2**31 - 1  # Caffe keeps these numbers as int, though its schema says uint32


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


def conv_window(p: ConvolutionParameter, rank: int) -> Window:
    """Return the window of a ConvolutionParameter over `rank` spatial axes (base_conv_layer.cpp).

    Raises:
        ShapeError: a size is zero, is given in both ways, or neither once nor once an axis.
        UnsupportedError: dilation 0, with which Caffe reads one element at every tap.
    """
    kernel = _per_axis(p, "kernel_size", ("kernel_h", "kernel_w"), rank, None)
    dilation = _dilation(p, rank)
    stride = _per_axis(p, "stride", ("stride_h", "stride_w"), rank, 1)
    plain = Window(kernel, stride, _per_axis(p, "pad", ("pad_h", "pad_w"), rank, 0), dilation)
    pad, far = _sides(p, plain)
    window = Window(
        kernel=kernel,
        stride=stride,
        pad=pad,
        # The dilation of a single tap has no effect, and Caffe accepts even a zero.
        dilation=tuple(1 if k == 1 else d for k, d in zip(kernel, dilation, strict=True)),
        far=far,
    )
    _check_nonzero(window)
    if 0 in window.dilation:
        raise UnsupportedError(f"dilation {dilation}: ONNX has no dilation of 0")
    return window


def _per_axis(
    p: ConvolutionParameter, field: str, pair: tuple[str, ...], rank: int, default: int | None
) -> Shape:
    """Return a repeated field (none, one for all, or one an axis) or its _h/_w pair."""
    values = [int(v) for v in getattr(p, field)]
    if any(p.HasField(name) for name in pair):
        if rank != 2:
            raise ShapeError(f"{pair[0]} and {pair[1]} are for 2 spatial axes; this has {rank}")
        if values:
            raise ShapeError(f"either {field} or {pair[0]}/{pair[1]} may be given, not both")
        return tuple(int(getattr(p, name)) for name in pair)
    if not values and default is not None:
        return (default,) * rank
    if len(values) == 1:
        return tuple(values) * rank
    if len(values) != rank:
        raise ShapeError(
            f"{field} must be given once or once a spatial axis ({rank}), and is given "
            f"{len(values)} times"
        )
    return tuple(values)


def _dilation(p: ConvolutionParameter, rank: int) -> Shape:
    """Return `dilation`, for which DeepLab v1 has `hole`, or hole_h and hole_w."""
    if not (p.hole or p.HasField("hole_h") or p.HasField("hole_w")):
        return _per_axis(p, "dilation", (), rank, 1)
    if p.dilation:
        raise ShapeError("either dilation or hole may be given, not both")
    return _per_axis(p, "hole", ("hole_h", "hole_w"), rank, 1)


def _sides(p: ConvolutionParameter | PoolingParameter, window: Window) -> tuple[Shape, Shape]:
    """Return the pads before and behind the axes, where a fork's fields set each side's own."""
    before, after = (int(p.pad_t), int(p.pad_l)), (int(p.pad_b), int(p.pad_r))
    if p.pad_type:
        return _same(p, window, any(before + after))
    if not any(before + after):
        return window.pad, ()
    if any(window.pad):
        raise ShapeError("either pad or pad_l, pad_r, pad_t and pad_b may be given, not both")
    if len(window.pad) != 2:
        raise ShapeError(f"pad_l to pad_b are for 2 spatial axes; this has {len(window.pad)}")
    return before, after


def _same(
    p: ConvolutionParameter | PoolingParameter, window: Window, sided: bool
) -> tuple[Shape, Shape]:
    """Return the pads of pad_type 1, with which the output is as large as the input."""
    if p.pad_type != 1:
        raise ShapeError(f"pad_type must be 0 or 1, and is {p.pad_type}")
    if sided or any(window.pad):
        raise ShapeError("either pad_type or a pad may be given, not both")
    if set(window.stride + window.dilation) != {1}:
        raise UnsupportedError(
            "pad_type: 1 with a stride or a dilation has pads that depend on the input's size; "
            "give them as pad_l, pad_r, pad_t and pad_b"
        )
    more = [k - 1 for k in window.kernel]
    return tuple(n // 2 for n in more), tuple(n - n // 2 for n in more)


def _check_nonzero(window: Window) -> None:
    for name in ("kernel", "stride", "pad", "dilation"):
        if any(n > _LARGEST for n in getattr(window, name)):
            raise ShapeError(f"{name} {getattr(window, name)}: Caffe counts to {_LARGEST}")
    for name in ("kernel", "stride"):
        if 0 in getattr(window, name):
            raise ShapeError(f"{name} dimensions must be nonzero, and are {getattr(window, name)}")


def conv_size(size: Shape, window: Window) -> Shape:
    """Return a convolution's output size: (in + 2 pad - extent) / stride + 1.

    C++ divides towards 0, so that a kernel that exceeds the padded input by less than the stride
    has one window; beyond the input it reads zeros.

    Raises:
        ShapeError: an axis has no window.
    """
    axes = list(zip(window.spans(size), window.extent, window.stride, strict=True))
    if any(n - e <= -s for n, e, s in axes):
        raise ShapeError(
            f"kernel {window.kernel} (dilation {window.dilation}) is larger than the "
            f"input {size} padded by {window.pad}"
        )
    return tuple(max(0, n - e) // s + 1 for n, e, s in axes)


def deconv_size(size: Shape, window: Window) -> Shape:
    """Return a deconvolution's output size: stride (in - 1) + extent - 2 pad."""
    out = tuple(
        s * (n - 1) + e - p - q
        for n, p, q, e, s in zip(
            size, window.pad, window.behind, window.extent, window.stride, strict=True
        )
    )
    if min(out, default=1) < 1:
        raise ShapeError(f"output size {out} from input {size} with pad {window.pad}")
    return out


def pool_window(p: PoolingParameter, size: Shape) -> Window:
    """Return the window of a PoolingParameter over an input of (height, width) (pooling_layer.cpp).

    Raises:
        ShapeError: Caffe's CHECKs fail: both or neither of kernel_size and kernel_h/kernel_w, a
            zero, pad >= kernel, global pooling with a kernel.
    """
    by_axis = p.HasField("kernel_h") and p.HasField("kernel_w")
    if p.global_pooling:
        if p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w"):
            raise ShapeError("with global_pooling: true the kernel size cannot be given")
        kernel = size
    elif by_axis == p.HasField("kernel_size"):
        raise ShapeError("needs either kernel_size, or both kernel_h and kernel_w")
    else:
        kernel = (p.kernel_h, p.kernel_w) if by_axis else (p.kernel_size,) * 2
    plain = Window(kernel, stride=_pair(p, "stride"), pad=_pair(p, "pad"), dilation=(1, 1))
    pad, far = _sides(p, plain)
    window = replace(plain, pad=pad, far=far)
    _check_nonzero(window)
    if p.global_pooling and (window.padded or set(window.stride) != {1}):
        raise ShapeError("with global_pooling: true only pad 0 and stride 1 are allowed")
    if any(pad >= k for pad, k in zip(window.pad, window.kernel, strict=True)):
        raise ShapeError(f"pad {window.pad} must be smaller than kernel {window.kernel}")
    return window


def _pair(p: Any, field: str) -> Shape:
    """Return a field for both axes, or its _h/_w pair."""
    h, w = f"{field}_h", f"{field}_w"
    if not (p.HasField(h) or p.HasField(w)):
        return (getattr(p, field),) * 2
    if not (p.HasField(h) and p.HasField(w)):
        raise ShapeError(f"{h} and {w} go together; one is missing")
    if p.HasField(field):
        raise ShapeError(f"either {field} or {h}/{w} may be given, not both")
    return (getattr(p, h), getattr(p, w))


def rounds_up(p: PoolingParameter) -> bool:
    """Return how a PoolingParameter rounds the output size, by BVLC's field or by a fork's."""
    if p.HasField("round_mode"):
        return bool(p.round_mode == PoolingParameter.CEIL)
    return bool(p.ceil_mode and not p.torch_pooling)


def pool_size(size: Shape, window: Window, *, ceil: bool) -> Shape:
    """Return the output size of pooling, where no window starts in the far pad.

    Rounded up, a kernel may exceed the padded input by less than a stride, as in Caffe.
    """
    out = []
    spans = window.spans(size)
    axes = zip(size, spans, window.kernel, window.stride, window.pad, strict=True)
    for n, whole, k, s, p in axes:
        span = whole - k
        count = (-(-span // s) if ceil else span // s) + 1
        # Caffe clips the last window only where any axis is padded (pooling_layer.cpp:Reshape).
        if window.padded and (count - 1) * s >= n + p:
            count -= 1
        if count < 1:
            raise ShapeError(
                f"kernel {window.kernel} is larger than the input {size} padded by {window.pad}"
            )
        out.append(count)
    return tuple(out)
