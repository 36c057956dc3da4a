"""From an image to a net's input, in the steps of caffe.io.Transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import ParseError, ShapeError
from ..npy import read_array
from ..types import Array, Picture, Size
from ..weights import read_mean

# Red, green and blue in grey, of 65536 (ITU-R BT.601, as OpenCV and Pillow round it).
GREY = (19595, 38470, 7471)


@dataclass(frozen=True)
class Preprocess:
    """The steps from an image to a net's input.

    In this order: float32; resize (bilinear, half-pixel centres, no antialiasing); crop the
    centre; channels first, in the net's order; `raw_scale`; `mean`; `scale`. A net of one channel
    gets grey. This is caffe.io.Transformer's order, and Caffe's transform_param is the part of it
    without `resize` and `raw_scale`.

    Attributes:
        resize: (height, width) before the crop; None: the image's own size if `crop` is given,
            else the net's.
        crop: (height, width) of the centre; None: the net's size, if `resize` is given.
        order: the order of the channels, `bgr` or `rgb`.
        raw_scale: the factor of the pixels, 0 to 255, before the mean is subtracted.
        mean: the values to subtract: one, one for each channel in `order`, or an array (C, H, W)
            of the size before or after the crop, or of another (then resized, as set_mean does).
        scale: the factor after the mean is subtracted.
        transposed: whether the net's axes are (C, W, H), as MTCNN's are.
    """

    resize: Size | None = None
    crop: Size | None = None
    order: Literal["bgr", "rgb"] = "bgr"
    raw_scale: float = 1
    mean: tuple[float, ...] | Array = ()
    scale: float = 1
    transposed: bool = False

    def __call__(self, image: Picture, dims: Sequence[int | None]) -> Array:
        """Compute a net's input from an image.

        Args:
            image: RGB, height x width x 3, uint8.
            dims: the net's input (N, C, H, W); None on an axis of any size.

        Returns:
            The input of one image, (C, H, W), or (C, W, H) if `transposed`.

        Raises:
            ShapeError: the net's input is no image, or the sizes do not fit it.
        """
        channels, size = self.fits(dims)
        height, width = image.shape[:2]
        before, after = self.sizes((height, width), size)
        pixels = _grey(image) if channels == 1 else image
        resized = (height, width) != before
        x = resize(pixels, before) if resized else pixels.astype(np.float32)
        top, left = (before[0] - after[0]) // 2, (before[1] - after[1]) // 2
        x = x[top : top + after[0], left : left + after[1]].transpose(2, 0, 1)
        if self.order == "bgr":
            x = x[::-1]
        x = x * np.float32(self.raw_scale) if self.raw_scale != 1 else x
        mean = self.mean_for(channels, before, after)
        if mean is not None:
            x = x - mean
        x = x * np.float32(self.scale) if self.scale != 1 else x
        return np.ascontiguousarray(x.swapaxes(1, 2) if self.transposed else x)

    def fits(self, dims: Sequence[int | None]) -> tuple[int, tuple[int | None, int | None]]:
        """Return the channels, and the height and width, of the images that an input takes.

        Raises:
            ShapeError: the input is no image.
        """
        if len(dims) != 4 or dims[1] not in (1, 3):
            say = "x".join("?" if n is None else str(n) for n in dims)
            raise ShapeError(f"an image has 1 or 3 channels, and the net's input is {say}")
        height, width = dims[2:]
        return dims[1], (width, height) if self.transposed else (height, width)

    def sizes(self, image: Size, net: tuple[int | None, int | None]) -> tuple[Size, Size]:
        """Return an image's size before and after the crop.

        Args:
            image: its own size.
            net: the size of the net's input; None on an axis of any size.

        Raises:
            ShapeError: the net takes another size, or the crop is larger than the image.
        """
        own = image if self.resize is None else self.resize
        fitting = (net[0] or own[0], net[1] or own[1])
        if self.resize is None and self.crop is None:
            before = after = fitting
        else:
            before, after = own, self.crop or fitting
        if any(n is not None and n != a for n, a in zip(net, after, strict=True)):
            raise ShapeError(f"crop {_say(after)} is not the net's input, {_say(net)}")
        if after[0] > before[0] or after[1] > before[1]:
            raise ShapeError(
                f"cannot crop {_say(after)} out of {_say(before)}; resize to a larger size",
                remedies=("resize",),
            )
        return before, after

    @staticmethod
    def window(before: Size, after: Size) -> tuple[float, float, float, float]:
        """Return the crop's (top, left, height, width) as shares of the image."""
        top, left = (before[0] - after[0]) // 2, (before[1] - after[1]) // 2
        return top / before[0], left / before[1], after[0] / before[0], after[1] / before[1]

    def mean_for(self, channels: int, before: Size, after: Size) -> Array | None:
        """Return the mean to subtract from (C, H, W); None for none.

        Args:
            channels: the net's.
            before: the image's (height, width) before the crop.
            after: the same behind it.

        Raises:
            ShapeError: the mean's channels are not the net's.
        """
        mean = np.asarray(self.mean, np.float32)
        if not mean.size:
            return None
        if mean.ndim == 1:
            if len(mean) not in (1, channels):
                raise ShapeError(
                    f"{len(mean)} mean values for {channels} channels; give one, or one for each"
                )
            return mean[:, np.newaxis, np.newaxis]
        if mean.ndim != 3 or mean.shape[0] != channels:
            raise ShapeError(f"the mean is {_say(mean.shape)}, and the net has {channels} channels")
        if mean.shape[1:] == before:
            top, left = (before[0] - after[0]) // 2, (before[1] - after[1]) // 2
            return mean[:, top : top + after[0], left : left + after[1]]
        if mean.shape[1:] != after:
            return resize(mean.transpose(1, 2, 0), after).transpose(2, 0, 1)
        return mean


PRESETS = {
    "imagenet-bgr": Preprocess(resize=(256, 256), mean=(104, 117, 123)),
    "mtcnn": Preprocess(order="rgb", mean=(127.5,), scale=1 / 128, transposed=True),
    "ssd-300": Preprocess(resize=(300, 300), mean=(104, 117, 123)),
    "unit": Preprocess(order="rgb", scale=1 / 255),
}
"""Preprocessing that published models share, by name."""


def from_prototxt(net: NetParameter, folder: str | Path, *, mean: bool = True) -> Preprocess | None:
    """Return the preprocessing of the net's first layer with a transform_param; None without one.

    Args:
        net: the net, its layers selected.
        folder: the prototxt's folder; a mean_file is read there or below only.
        mean: whether to read it; False for a caller who has another.

    Raises:
        ParseError: the mean_file is not there.
        WeightsError: the mean_file is damaged.
        ShapeError: mean_file and mean_value, or force_color and force_gray, together.
    """
    for layer in net.layer:
        if layer.HasField("transform_param"):
            return _from_layer(layer, Path(folder), mean=mean)
    return None


def _from_layer(layer: LayerParameter, folder: Path, *, mean: bool) -> Preprocess:
    p = layer.transform_param
    if p.mean_file and p.mean_value:
        raise ShapeError("transform_param gives both mean_file and mean_value; one of them")
    if p.force_color and p.force_gray:
        raise ShapeError("transform_param gives both force_color and force_gray; one of them")
    subtracted: tuple[float, ...] | Array = tuple(p.mean_value)
    if p.mean_file and mean:
        path = (folder / p.mean_file).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise ParseError(
                f"mean_file '{p.mean_file}' is not in the prototxt's folder; read it with "
                "mean_array, and give it as mean=...",
                remedies=("mean",),
            )
        subtracted = mean_array(path)
    images = layer.image_data_param
    size = (images.new_height, images.new_width)
    return Preprocess(
        resize=size if all(size) else None,
        crop=(p.crop_size, p.crop_size) if p.crop_size else None,
        mean=subtracted,
        scale=p.scale,
    )


def mean_array(path: str | Path) -> Array:
    """Read a mean image, (C, H, W), from a binaryproto or a .npy file.

    Raises:
        WeightsError: the binaryproto is damaged, or is none.
        ParseError: the .npy file is damaged, or is none.
        ShapeError: the array is neither (C), (C, H, W) nor (1, C, H, W).
    """
    if str(path).endswith(".npy"):
        array: NDArray[Any] = read_array(path)
    else:
        array = read_mean(path)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1:
        array = array[:, np.newaxis, np.newaxis]
    if array.ndim != 3:
        raise ShapeError(f"{path}: a mean image is CxHxW, and this is {_say(array.shape)}")
    return np.asarray(array, np.float32)


def resize(x: NDArray[Any], size: Size) -> Array:
    """Resize an image as caffe.io.resize_image did under the scikit-image of its days (0.13).

    Bilinear, half-pixel centres, no antialiasing. The values are first scaled to 0 to 1, where
    the outside of the image counts as 0: its min.

    Args:
        x: height x width x channels.
        size: (height, width).
    """
    low, high = np.float32(x.min()), np.float32(x.max())
    if not high > low:
        return np.full((*size, x.shape[2]), low, np.float32)

    def unit(rows: NDArray[Any]) -> NDArray[Any]:
        return (rows.astype(np.float32) - low) / (high - low)

    tall = _interpolate(x, size[0], 0, unit)  # only the rows that count are scaled to 0 to 1
    pixels = _interpolate(tall, size[1], 1, lambda columns: columns)
    return np.asarray(pixels * np.float64(high - low) + low, np.float32)


def _interpolate(
    x: NDArray[Any], count: int, axis: int, unit: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.float64]:
    length = x.shape[axis]
    along = [-1 if i == axis else 1 for i in range(x.ndim)]
    at = (np.arange(count) + 0.5) * (length / count) - 0.5
    low = np.floor(at).astype(np.intp)
    share = at - low
    total = np.zeros((), np.float64)
    for index, weight in ((low, 1 - share), (low + 1, share)):
        inside = (index >= 0) & (index < length)
        lines = unit(np.take(x, np.where(inside, index, 0), axis))
        total = total + lines * (weight * inside).reshape(along)
    return total


def _grey(image: Picture) -> Picture:
    grey = (image.astype(np.int64) @ np.array(GREY) + 0x8000) >> 16
    return np.asarray(grey[..., np.newaxis], np.uint8)


def _say(size: Sequence[int | None]) -> str:
    return "x".join("?" if n is None else str(n) for n in size)
