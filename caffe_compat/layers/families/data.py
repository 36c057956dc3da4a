"""Layers that read data, whose tops the caller feeds instead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import LayerParameter, ResizeParameter
from ...errors import ShapeError
from ...fillers.rng import Rng
from ...types import Array, Shape
from ..layer import Blob
from ..registry import layer
from .ends import Fed


class Reader(Fed):
    """A layer of batches of images and labels, read and transformed in Caffe."""

    one_batch = has_source = True
    seeds = 2  # seeds that Caffe's transformer draws for its mirroring and cropping
    threads = 1  # a thread that reads ahead draws a seed too

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        transform = proto.transform_param
        if transform.HasField("mean_file") and transform.mean_value:
            raise ShapeError("gives both mean_file and mean_value; one of them")
        self.crop: int = transform.crop_size
        self.means = len(transform.mean_value)

    def batches(self, channels: int, height: int, width: int) -> list[Shape | None]:
        """Return the shapes of images and labels; with a 0 the caller gives the images'."""
        n = self.p.batch_size
        if n < 1:
            raise ShapeError(
                f"batch_size must be positive, and is {n}; give the batch as an input shape, as in "
                f'inputs={{"{self.proto.top[0]}": (1, 3, 224, 224)}}',
                remedies=("inputs",),
                changes=[{"inputs": {self.proto.top[0]: None}}],
            )
        if self.means > 1 and channels not in (0, self.means):
            raise ShapeError(
                f"gives {self.means} mean_value for {channels} channels; one, or one each"
            )
        height, width = self.resized(height, width)
        transform = self.proto.transform_param
        high, wide = (self.crop,) * 2 if self.crop else (transform.crop_h, transform.crop_w)
        if 0 < height < high or 0 < width < wide:
            what = f"crop_size {self.crop}" if self.crop else f"crop_h {high} crop_w {wide}"
            raise ShapeError(f"{what} exceeds {height} x {width}")
        height, width = high or height, wide or width
        images = (n, channels or (self.means if self.means > 1 else 0), height, width)
        shapes: list[Shape | None] = [None if 0 in images else images, (n,)]
        return shapes[: len(self.proto.top)]

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the size after resize_param (im_transforms.cpp), 0 if it depends on the image."""
        if not self.proto.transform_param.HasField("resize_param"):
            return height, width
        p = self.proto.transform_param.resize_param
        if p.resize_mode != ResizeParameter.FIT_SMALL_SIZE:
            return p.height, p.width
        if 0 in (height, width, p.height, p.width):
            return 0, 0
        aspect = np.float32(width) / np.float32(height)
        if aspect < np.float32(p.width) / np.float32(p.height):
            return int(np.float32(p.width) / aspect), p.width
        return p.height, int(aspect * np.float32(p.height))

    def setup_draws(self) -> int:
        """Return the number of 32-bit words that Caffe's LayerSetUp takes from its generator."""
        mirror = self.proto.transform_param.mirror
        random = bool(mirror or (self.train and self.crop))
        return self.seeds * random + self.threads

    def fill(self, rng: Rng, *x: Shape, blobs: Sequence[Blob] | None = None) -> list[Array]:
        rng.u32(self.setup_draws())
        return []


@layer(param="data_param", bottoms=0, tops=(1, 2))
class Data(Reader):
    """Batches of a database, fed by the caller (data_layer.cpp).

    The channels follow from several mean_value, height and width from crop_size or the SSD branch's
    resize_param. The caller gives the shape if the prototxt does not.
    """

    def shapes(self) -> list[Shape | None]:
        return self.batches(0, 0, 0)


@layer(param="data_param", bottoms=0, tops=(1, 2))
class AnnotatedData(Reader):
    """Batches of a database with boxes, fed by the caller.

    From: weiliu89/caffe, branch ssd, annotated_data_layer.cpp

    The images' shape follows as for Data; each batch_sampler's crop is resized too. The labels are
    rows of 8, (1, 1, boxes, 8), here of one box, Caffe's min.
    """

    one_batch = False
    threads = 2  # the reader of the database is one more

    def shapes(self) -> list[Shape | None]:
        resize = self.proto.transform_param.resize_param
        if resize.resize_mode == ResizeParameter.FIT_SMALL_SIZE and self.p.batch_size != 1:
            raise ShapeError(f"FIT_SMALL_SIZE wants batch_size 1, and has {self.p.batch_size}")
        boxes: list[Shape | None] = [(1, 1, 1, 8)]
        return self.batches(0, 0, 0)[:1] + boxes[: len(self.proto.top) - 1]


@layer(param="data_param", bottoms=0, tops=(1, 2))
class VideoData(Reader):
    """Frames of a video or a camera, fed by the caller.

    From: weiliu89/caffe, branch ssd, video_data_layer.cpp

    Several frames have the channels of all of them (yjxiong/caffe), for which mean_value is given.
    """

    has_source = False

    def shapes(self) -> list[Shape | None]:
        return self.batches(0 if self.means > 1 else 3, 0, 0)


@layer(param="image_data_param", bottoms=0, tops=2)
class ImageData(Reader):
    """Batches of image files, fed by the caller (image_data_layer.cpp).

    Height and width follow from crop_size or new_height and new_width, or the caller gives them.
    """

    def shapes(self) -> list[Shape | None]:
        height, width = self.p.new_height, self.p.new_width
        if bool(height) != bool(width):
            raise ShapeError(f"new_height {height} and new_width {width}: both or neither")
        return self.batches(3 if self.p.is_color else 1, height, width)

    def setup_draws(self) -> int:
        return super().setup_draws() + bool(self.p.shuffle) + bool(self.p.rand_skip)


@layer(param="window_data_param", bottoms=0, tops=2)
class WindowData(Reader):
    """Batches of windows of images, fed by the caller (window_data_layer.cpp).

    The channels follow from several mean_value, or the caller gives the shape.
    """

    def shapes(self) -> list[Shape | None]:
        if not self.crop:
            raise ShapeError("crop_size must be positive, and is 0")
        return self.batches(0, 0, 0)

    def setup_draws(self) -> int:
        return super().setup_draws() + bool(self.proto.transform_param.mirror or self.crop)


@layer(param="memory_data_param", bottoms=0, tops=2)
class MemoryData(Reader):
    """Batches of arrays, fed by the caller (memory_data_layer.cpp)."""

    has_source = False
    seeds, threads = 1, 0

    def shapes(self) -> list[Shape | None]:
        sizes = (self.p.batch_size, self.p.channels, self.p.height, self.p.width)
        if 0 in sizes:
            raise ShapeError(
                f"batch_size, channels, height and width must be positive: {sizes}",
                remedies=("inputs",),
                changes=[{"inputs": dict.fromkeys(self.proto.top)}],
            )
        return [sizes, sizes[:1]]


@layer(param="hdf5_data_param", bottoms=0, tops=(1, None))
class HDF5Data(Fed):
    """Batches of HDF5 datasets, whose shapes the caller gives (hdf5_data_layer.cpp)."""

    one_batch = has_source = True

    def shapes(self) -> list[Shape | None]:
        if self.proto.HasField("transform_param"):
            raise ShapeError("does not transform data, and has a transform_param")
        return [None] * len(self.proto.top)
