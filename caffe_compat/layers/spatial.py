"""The windows that parameters declare, and the output sizes of convolution and pooling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..caffe_pb2 import ConvolutionParameter, PoolingParameter
from ..errors import ShapeError, UnsupportedError
from ..types import Shape
from .window import Window

_LARGEST = 2**31 - 1  # Caffe keeps these numbers as int, though its schema says uint32


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
