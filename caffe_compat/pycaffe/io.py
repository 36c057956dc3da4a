"""`caffe.io`: arrays to messages and back, and images to what a net is fed.

The numbers are those of pycaffe with the scikit-image of its days: `resize_image` interpolates
linearly and does not smooth first, which scikit-image does by default today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..types import AnyArray, Array
from . import extras
from .proto import caffe_pb2

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]


def __getattr__(name: str) -> Any:
    """Return what pycaffe's own imports leave here, and scripts use: `caffe.io.skimage.io`."""
    if name in ("resize", "skimage"):
        skimage = extras.load("skimage.io")
        return skimage if name == "skimage" else extras.load("skimage.transform").transform.resize
    raise AttributeError(f"module 'caffe.io' has no attribute {name!r}")


_LEGACY = ("num", "channels", "height", "width")


# -- messages --------------------------------------------------------------------------------


def blobproto_to_array(blob: Any, return_diff: bool = False) -> AnyArray:
    """Return a BlobProto's data, or its diff, as an array of the blob's shape (float64)."""
    data = np.array(blob.diff if return_diff else blob.data, float)
    if any(blob.HasField(field) for field in _LEGACY):
        return data.reshape([getattr(blob, field) for field in _LEGACY])
    return data.reshape(blob.shape.dim)


def array_to_blobproto(arr: AnyArray, diff: AnyArray | None = None) -> Any:
    """Return a BlobProto of an array of any shape; `diff`, of the same shape, goes beside it."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[AnyArray]) -> bytes:
    """Return a list of arrays as the bytes of a BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist])
    data: bytes = vector.SerializeToString()
    return data


def blobprotovector_str_to_arraylist(str: bytes) -> list[AnyArray]:
    """Return the arrays of a BlobProtoVector's bytes."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: AnyArray, label: int | None = None) -> Any:
    """Return a Datum of a (channels, height, width) array; uint8 as bytes, others as floats.

    Raises:
        ValueError: the array does not have three axes.
    """
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> AnyArray:
    """Return a Datum's (channels, height, width) array: uint8 of bytes, float64 of floats."""
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.data):
        return np.frombuffer(datum.data, np.uint8).copy().reshape(shape)
    return np.array(datum.float_data).astype(float).reshape(shape)


# -- images ----------------------------------------------------------------------------------


def load_image(filename: Any, color: bool = True) -> Array:
    """Read an image as float32 in 0..1: (H, W, 3) in RGB, or (H, W, 1) with `color=False`.

    A gray image is repeated for three channels where `color` is asked for; alpha is dropped.
    """
    skimage = extras.load("skimage.io")
    image = skimage.io.imread(filename, as_gray=not color)
    image = extras.load("skimage.util").util.img_as_float(image).astype(np.float32)
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
        if color:
            image = np.tile(image, (1, 1, 3))
    elif image.shape[2] == 4:
        image = image[:, :, :3]
    loaded: Array = image
    return loaded


def resize_image(im: AnyArray, new_dims: Sequence[int] | AnyArray, interp_order: int = 1) -> Array:
    """Resize an (H, W, K) image.

    Args:
        im: the image, of any range of values.
        new_dims: height and width.
        interp_order: of the spline; 1 is linear.

    Returns:
        float32, (new_dims[0], new_dims[1], K).
    """
    if im.shape[-1] not in (1, 3):
        zoom = extras.load("scipy.ndimage").ndimage.zoom
        factors = tuple(np.array(new_dims, float) / np.array(im.shape[:2]))
        zoomed: Array = zoom(im, (*factors, 1), order=interp_order).astype(np.float32)
        return zoomed
    low, high = im.min(), im.max()
    if high <= low:
        return np.full((new_dims[0], new_dims[1], im.shape[-1]), low, np.float32)
    resize = extras.load("skimage.transform").transform.resize
    standard = resize(
        (im - low) / (high - low),
        tuple(int(size) for size in new_dims),
        order=interp_order,
        mode="constant",
        anti_aliasing=False,
    )
    resized: Array = (standard * (high - low) + low).astype(np.float32)
    return resized


def oversample(images: Sequence[AnyArray] | AnyArray, crop_dims: ArrayLike) -> Array:
    """Cut out the four corners and the center, and mirror each.

    Args:
        images: (H, W, K) arrays of one size.
        crop_dims: height and width of a crop.

    Returns:
        (10 * len(images), height, width, K): of each image five crops, then the same mirrored.
    """
    height, width = (int(size) for size in np.asarray(crop_dims))
    rows, columns = images[0].shape[:2]
    center = int(rows / 2.0 - height / 2.0), int(columns / 2.0 - width / 2.0)
    corners = [(y, x) for y in (0, rows - height) for x in (0, columns - width)]
    crops = np.empty((10 * len(images), height, width, images[0].shape[-1]), np.float32)
    for i, image in enumerate(images):
        for j, (y, x) in enumerate([*corners, center]):
            crop = image[y : y + height, x : x + width, :]
            crops[10 * i + j] = crop
            crops[10 * i + 5 + j] = crop[:, ::-1, :]
    return crops


class Transformer:
    """Images to the arrays that a net's inputs take, and back.

    Args:
        inputs: the shape of each input by name, batch first.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, AnyArray] = {}
        self.input_scale: dict[str, float] = {}

    def _check_input(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise ValueError(f"{in_} is not one of the net inputs: {self.inputs}")

    def preprocess(self, in_: str, data: AnyArray) -> AnyArray:
        """Resize, transpose, swap channels, scale, subtract the mean and scale again.

        Args:
            in_: the input.
            data: (H, W, K).

        Returns:
            (K, H, W) float32; as in pycaffe it may be `data`'s own memory.
        """
        self._check_input(in_)
        x = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if x.shape[:2] != size:
            x = resize_image(x, size)
        if self.transpose.get(in_) is not None:
            x = x.transpose(self.transpose[in_])
        if self.channel_swap.get(in_) is not None:
            x = x[np.asarray(self.channel_swap[in_]), :, :]
        if self.raw_scale.get(in_) is not None:
            x *= self.raw_scale[in_]
        if self.mean.get(in_) is not None:
            x -= self.mean[in_]
        if self.input_scale.get(in_) is not None:
            x *= self.input_scale[in_]
        return x

    def deprocess(self, in_: str, data: AnyArray) -> AnyArray:
        """Undo `preprocess`, except the resizing."""
        self._check_input(in_)
        x = data.copy().squeeze()
        if self.input_scale.get(in_) is not None:
            x /= self.input_scale[in_]
        if self.mean.get(in_) is not None:
            x += self.mean[in_]
        if self.raw_scale.get(in_) is not None:
            x /= self.raw_scale[in_]
        if self.channel_swap.get(in_) is not None:
            x = x[np.argsort(self.channel_swap[in_]), :, :]
        if self.transpose.get(in_) is not None:
            x = x.transpose(np.argsort(self.transpose[in_]))
        return x

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the axes: (2, 0, 1) makes (K, H, W) of (H, W, K)."""
        self._check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise ValueError(
                "Transpose order needs to have the same number of dimensions as the input."
            )
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the channels after the transpose: (2, 1, 0) makes BGR of RGB."""
        self._check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise ValueError(
                "Channel swap needs to have the same number of dimensions as the input channels."
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set the factor before the mean: 255 for nets that were trained on 0..255."""
        self._check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: AnyArray) -> None:
        """Set the mean: one value a channel, or an image, which is resized to the input's size."""
        self._check_input(in_)
        shape = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if mean.shape[0] != shape[0]:
                raise ValueError("Mean channels incompatible with input.")
            self.mean[in_] = mean[:, np.newaxis, np.newaxis]
            return
        size = (1, *mean.shape) if mean.ndim == 2 else mean.shape
        if len(size) != 3:
            raise ValueError("Mean shape invalid")
        if size != shape:
            low, high = float(mean.min()), float(mean.max())
            image = ((mean - low) / (high - low)).transpose((1, 2, 0))
            mean = resize_image(image, shape[1:]).transpose((2, 0, 1)) * (high - low) + low
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set the factor after the mean."""
        self._check_input(in_)
        self.input_scale[in_] = scale
