"""The functions on images that `scipy.misc` had until 1.2, by Pillow as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...types import AnyArray

__all__ = ["bytescale", "fromimage", "imread", "imresize", "imrotate", "imsave", "toimage"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
}


def imread(name: Any, flatten: bool = False, mode: str | None = None) -> AnyArray:
    """Read an image as an array of (H, W) or (H, W, channels)."""
    with Image.open(name) as image:
        return fromimage(image, flatten=flatten, mode=mode)


def fromimage(im: Any, flatten: bool = False, mode: str | None = None) -> AnyArray:
    """Return an image of Pillow's as an array; `flatten` makes one gray channel of float32."""
    if mode is not None and mode != im.mode:
        im = im.convert(mode)
    elif im.mode == "P":
        im = im.convert("RGBA" if "transparency" in im.info else "RGB")
    elif im.mode == "1":
        im = im.convert("L")
    return np.array(im.convert("F") if flatten else im)


def bytescale(
    data: AnyArray, cmin: Any = None, cmax: Any = None, high: int = 255, low: int = 0
) -> AnyArray:
    """Return values scaled to low..high as uint8; uint8 as it is."""
    if data.dtype == np.uint8:
        return data
    least = data.min() if cmin is None else cmin
    span = (data.max() if cmax is None else cmax) - least
    scaled = (data - least) * (float(high - low) / (span or 1)) + low
    whole: AnyArray = (np.clip(scaled, low, high) + 0.5).astype(np.uint8)
    return whole


def toimage(
    arr: AnyArray, high: int = 255, low: int = 0, cmin: Any = None, cmax: Any = None,
    mode: str | None = None, channel_axis: int | None = None, **_: Any,
) -> Any:  # fmt: skip
    """Return an array as an image of Pillow's, its values scaled to bytes."""
    data = np.asarray(arr)
    if data.ndim == 2 and mode == "F":
        return Image.fromarray(data.astype(np.float32))
    if data.ndim == 3:
        sizes = list(data.shape)
        axis = channel_axis
        if axis is None:
            axis = sizes.index(3) if 3 in sizes else sizes.index(4)
        data = np.moveaxis(data, axis, -1)
    image = Image.fromarray(bytescale(data, cmin, cmax, high, low))
    return image.convert(mode) if mode and mode != image.mode else image


def imsave(name: Any, arr: AnyArray, format: str | None = None) -> None:
    """Write an array as an image."""
    toimage(arr, channel_axis=2 if np.ndim(arr) == 3 else None).save(name, format)


def imresize(
    arr: AnyArray, size: Any, interp: str = "bilinear", mode: str | None = None
) -> AnyArray:
    """Resize an image, to bytes: by a factor, by percent, or to (height, width)."""
    image = toimage(arr, mode=mode)
    if isinstance(size, int | np.integer):
        sides = tuple(int(side * size / 100.0) for side in image.size)
    elif isinstance(size, float | np.floating):
        sides = tuple(int(side * size) for side in image.size)
    else:
        sides = (int(size[1]), int(size[0]))
    return fromimage(image.resize(sides, _FILTERS[interp]))


def imrotate(arr: AnyArray, angle: float, interp: str = "bilinear") -> AnyArray:
    """Rotate an image counter-clockwise, in degrees."""
    return fromimage(toimage(arr).rotate(angle, _FILTERS[interp]))
