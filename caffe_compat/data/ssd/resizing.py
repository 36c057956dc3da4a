"""resize_param and noise_param of the SSD branch (im_transforms.cpp)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...caffe_pb2 import NoiseParameter, ResizeParameter
from ...errors import ShapeError, UnsupportedError
from ...types import AnyArray, Size
from ..images import Pixels, opencv, resize
from ..streams import Engine

_LEVELS = 64  # posterize: the width of a level


def new_size(p: ResizeParameter, image: Size) -> Size:
    """Return the (height, width) that resize_param makes of an image (InferNewSize).

    Raises:
        ShapeError: it gives no height or no width.
    """
    if not (p.height and p.width):
        raise ShapeError(f"resize_param: height {p.height} and width {p.width} must be positive")
    if p.resize_mode != ResizeParameter.FIT_SMALL_SIZE:
        return p.height, p.width
    aspect = np.float32(image[1]) / np.float32(image[0])
    if aspect < np.float32(p.width) / np.float32(p.height):
        return int(np.float32(p.width) / aspect), p.width
    return p.height, int(aspect * np.float32(p.height))


def draw_interpolation(p: ResizeParameter, engine: Engine) -> int:
    """Return an Interp_mode, drawn where several are given."""
    modes = list(p.interp_mode)
    if not modes:
        return int(ResizeParameter.LINEAR)
    share = np.float32(1) / np.float32(len(modes))
    cumulative = np.cumsum(np.full(len(modes), share, np.float32), dtype=np.float32)
    value = engine.uniform(0, cumulative[-1], 1)[0]
    return int(modes[int(np.searchsorted(cumulative, value))])


def apply_resize(p: ResizeParameter, image: Pixels, mode: int) -> Pixels:
    """Resize an image, with padding where resize_param asks for it (ApplyResize).

    Args:
        p: the parameter.
        image: height x width x channels.
        mode: an Interp_mode.

    Raises:
        ShapeError: pad_value is given neither once nor for each channel.
    """
    channels = image.shape[2]
    if len(p.pad_value) not in (0, 1, channels):
        raise ShapeError(f"resize_param: {len(p.pad_value)} pad_value for {channels} channels")
    with opencv() as cv2:
        interpolation = getattr(cv2, f"INTER_{ResizeParameter.Interp_mode.Name(mode)}")
    if p.resize_mode != ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        return resize(image, new_size(p, image.shape[:2]), interpolation)
    aspect = np.float32(image.shape[1]) / np.float32(image.shape[0])
    height, width = p.height, p.width
    if aspect > np.float32(width) / np.float32(height):
        height = math.floor(np.float32(width) / aspect)
    else:
        width = math.floor(aspect * np.float32(height))
    if not (height and width):
        raise ShapeError(f"resize_param leaves nothing of an image of {image.shape[:2]}")
    return _pad(p, resize(image, (height, width), interpolation))


_BORDERS = {
    ResizeParameter.CONSTANT: "BORDER_CONSTANT",
    ResizeParameter.MIRRORED: "BORDER_REFLECT_101",
    ResizeParameter.REPEAT_NEAREST: "BORDER_REPLICATE",
}


def _pad(p: ResizeParameter, image: Pixels) -> Pixels:
    """Place an image in the middle of one of resize_param's size."""
    height, width, channels = image.shape
    top, left = (p.height - height) // 2, (p.width - width) // 2
    values = list(p.pad_value) * channels if len(p.pad_value) == 1 else list(p.pad_value)
    with opencv() as cv2:
        padded: Pixels = cv2.copyMakeBorder(
            image,
            top,
            p.height - height - top,
            left,
            p.width - width - left,
            getattr(cv2, _BORDERS[p.pad_mode]),
            value=values or [0] * channels,
        )
    return padded.reshape(p.height, p.width, channels)


def check_noise(p: NoiseParameter) -> None:
    """Refuse a noise_param that Caffe does not compute in bytes.

    Raises:
        UnsupportedError: convert_to_lab, after which Caffe reads floats as bytes.
        ShapeError: saltpepper without a value.
    """
    if p.convert_to_lab:
        raise UnsupportedError("noise_param: convert_to_lab makes floats that Caffe reads as bytes")
    if p.saltpepper and not p.saltpepper_param.value:
        raise ShapeError("noise_param: saltpepper needs a saltpepper_param.value")


def draw_salt(p: NoiseParameter, size: Size, engine: Engine) -> AnyArray:
    """Return where saltpepper falls: a row (column, row) for each pixel, drawn again or not."""
    if not p.saltpepper:
        return np.empty((0, 2), np.int64)
    height, width = size
    share = np.float32(p.saltpepper_param.fraction) * np.float32(width) * np.float32(height)
    words = engine.u32(2 * max(0, math.floor(share))).reshape(-1, 2).astype(np.int64)
    places: AnyArray = words % np.array([width, height])
    return places


def apply_noise(p: NoiseParameter, image: Pixels, salt: AnyArray) -> Pixels:
    """Change an image as noise_param asks (ApplyNoise).

    Args:
        p: the parameter.
        image: height x width x channels.
        salt: from `draw_salt`.

    Raises:
        ShapeError: it needs color, or would change the number of channels.
    """
    channels = image.shape[2]
    if channels != 3 and (p.decolorize or p.convert_to_hsv or p.jpeg > 0):
        raise ShapeError(f"noise_param needs color, and the image has {channels} channels")
    with opencv() as cv2:
        out = _texture(p, _tones(p, image, cv2), cv2)
        if p.posterize:
            out = out // _LEVELS * _LEVELS + _LEVELS // 2
        if p.inverse:
            out = 255 - out
        noisy = np.array(out, np.uint8).reshape(image.shape)
        if p.saltpepper:
            noisy[salt[:, 1], salt[:, 0]] = _salt_values(p, channels)
        if p.convert_to_hsv:
            noisy = cv2.cvtColor(noisy, cv2.COLOR_BGR2HSV)
    return noisy


def _tones(p: NoiseParameter, image: Any, cv2: Any) -> Any:
    if p.decolorize:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if p.gauss_blur:
        image = cv2.GaussianBlur(image, (7, 7), 1.5)
    if p.hist_eq:
        image = _on_luma(image, cv2.equalizeHist, cv2)
    if p.clahe:
        image = _on_luma(image, cv2.createCLAHE(clipLimit=4).apply, cv2)
    return image


def _texture(p: NoiseParameter, image: Any, cv2: Any) -> Any:
    if p.jpeg > 0:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(p.jpeg)])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if p.erode:
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3), (1, 1))
        image = cv2.erode(image, ellipse)
    return image


def _on_luma(image: Any, change: Any, cv2: Any) -> Any:
    """Change the brightness alone."""
    if image.ndim == 2 or image.shape[2] == 1:
        return change(image)
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    planes[:, :, 0] = change(np.ascontiguousarray(planes[:, :, 0]))
    return cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)


def _salt_values(p: NoiseParameter, channels: int) -> AnyArray:
    values = np.array(p.saltpepper_param.value).astype(np.uint8)
    if len(values) not in (1, channels):
        raise ShapeError(f"saltpepper_param: {len(values)} value for {channels} channels")
    return values
