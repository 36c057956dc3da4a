"""Colors of an image distorted at random (im_transforms.cpp: ApplyDistort)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import DistortionParameter
from ...errors import ShapeError
from ..images import Pixels, opencv
from ..streams import CRand, Engine

Change = Callable[[Pixels], Pixels]


class Distortion(NamedTuple):
    """The changes to one image's colors, in order: a step and its number."""

    steps: tuple[tuple[str, float], ...]
    order: tuple[int, ...]  # of the channels

    def apply(self, image: Pixels) -> Pixels:
        """Return the distorted image, BGR."""
        for name, amount in self.steps:
            image = _STEPS[name](image, np.float32(amount))
        return image[:, :, self.order] if self.order != (0, 1, 2) else image


def draw(p: DistortionParameter, engine: Engine, rand: CRand) -> Distortion:
    """Draw one image's distortion.

    Args:
        p: the parameter.
        engine: the stream of the thread that reads ahead.
        rand: the C library's, which orders the channels.
    """
    contrast_first = _probability(engine) > 0.5
    names = ("brightness", "contrast", "saturation", "hue")
    if not contrast_first:
        names = ("brightness", "saturation", "hue", "contrast")
    steps = [
        (name, float(engine.uniform(*_range(p, name), 1)[0]))
        for name in names
        if _probability(engine) < np.float32(getattr(p, f"{name}_prob"))
    ]
    order = (0, 1, 2)
    if _probability(engine) < np.float32(p.random_order_prob):
        order = tuple(rand.shuffle(np.arange(3)).tolist())
    return Distortion(tuple(steps), order)


def _probability(engine: Engine) -> np.float32:
    value: np.float32 = engine.uniform(0, 1, 1)[0]
    return value


def _range(p: DistortionParameter, name: str) -> tuple[float, float]:
    """Return what a step's number is drawn from.

    Raises:
        ShapeError: the parameter gives no such range.
    """
    if name in ("brightness", "hue"):
        delta: float = getattr(p, f"{name}_delta")
        low, high = -delta, delta
    else:
        low, high = getattr(p, f"{name}_lower"), getattr(p, f"{name}_upper")
        if low < 0:
            raise ShapeError(f"distort_param: {name}_lower must not be negative, and is {low:g}")
    if high < low:
        raise ShapeError(f"distort_param: {name} from {low:g} to {high:g}")
    return low, high


def _affine(image: Pixels, alpha: np.float32, beta: np.float32) -> Pixels:
    """Return alpha * image + beta, rounded and cut off at 0 and 255 (cv::Mat::convertTo)."""
    values = np.arange(256, dtype=np.float32) * alpha + beta
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    changed: Pixels = table[image]
    return changed


def _brightness(image: Pixels, delta: np.float32) -> Pixels:
    return _affine(image, np.float32(1), delta)


def _contrast(image: Pixels, factor: np.float32) -> Pixels:
    return image if abs(factor - np.float32(1)) <= 1e-3 else _affine(image, factor, np.float32(0))


def _in_hsv(image: Pixels, channel: int, change: Change) -> Pixels:
    """Return the image with one channel of its HSV form changed."""
    if image.shape[2] != 3:
        raise ShapeError(f"distort_param needs color, and the image has {image.shape[2]} channels")
    with opencv() as cv2:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[:, :, channel] = change(hsv[:, :, channel])
        bgr: Pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return bgr


def _saturation(image: Pixels, factor: np.float32) -> Pixels:
    return _in_hsv(image, 1, lambda channel: _affine(channel, factor, np.float32(0)))


def _hue(image: Pixels, delta: np.float32) -> Pixels:
    if delta == 0:
        return image
    return _in_hsv(image, 0, lambda channel: _affine(channel, np.float32(1), delta))


_STEPS: dict[str, Callable[[Pixels, np.float32], Pixels]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}
