"""What Caffe's transformer makes of an image: crop, mirror, mean, scale (data_transformer.cpp)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ..caffe_pb2 import TRAIN, LayerParameter
from ..errors import ShapeError, UnsupportedError
from ..types import AnyArray, Array, Shape
from .buffers import Buffers
from .datum import Record
from .images import decode, planes
from .source import Plan, State
from .streams import Engine


class Draw(NamedTuple):
    """The words that one image takes from the transformer's engine, not yet brought into range."""

    mirror: int = 0
    top: int = 0
    left: int = 0


# Of the SSD branch's transformer, which only AnnotatedData has here.
_SSD = ("resize_param", "noise_param", "distort_param", "expand_param", "emit_constraint")


class Transform:
    """A layer's transform_param in its phase.

    Args:
        layer: the layer, with its phase.
        mean: of its mean_file, (channels, height, width); None where it has none.
        seed: the word that the layer drew for the transformer's engine; None where it needs none.

    Raises:
        ShapeError: what Caffe's CHECKs refuse.
        UnsupportedError: a field that only a fork's transformer has.
    """

    def __init__(self, layer: LayerParameter, mean: Array | None, seed: int | None):
        p = self._p = layer.transform_param
        if p.mean_file and p.mean_value:
            raise ShapeError("gives both mean_file and mean_value; one of them")
        if p.force_color and p.force_gray:
            raise ShapeError("gives both force_color and force_gray; one of them")
        self.crop: int = p.crop_size
        self.random_crop = layer.phase == TRAIN and self.crop > 0
        self.color: bool | None = p.force_color if p.force_color or p.force_gray else None
        self._words = int(p.mirror) + 2 * self.random_crop
        self._mean = mean
        self._values = np.array(p.mean_value, np.float32)
        each = self._values[:, np.newaxis, np.newaxis]
        # To subtract; turned once, for mirrored images.
        self._means = (
            (each, each) if mean is None else (mean, np.ascontiguousarray(mean[..., ::-1]))
        )
        self._scale = np.float32(p.scale)
        self._engine = None if seed is None else Engine(seed)

    def check_fields(self) -> None:
        """Refuse what BVLC's transformer does not know.

        Raises:
            UnsupportedError: transform_param has it.
        """
        fork = [name for name in _SSD if self._p.HasField(name)]
        fork += [name for name in ("crop_h", "crop_w") if getattr(self._p, name)]
        if fork:
            raise UnsupportedError(
                f"transform_param has {', '.join(fork)}, which only AnnotatedData of the SSD "
                "branch reads here"
            )

    def draw(self, count: int) -> list[Draw]:
        """Take the next images' words: each one's for the mirror, then for the crop's place."""
        if not self._words or self._engine is None:
            return [Draw()] * count
        words = self._engine.u32(count * self._words).reshape(count, self._words)
        columns = np.zeros((count, 3), np.int64)
        columns[:, 0 if self._p.mirror else 1 : 3 if self.random_crop else 1] = words
        return [Draw(*row) for row in columns.tolist()]

    def shape(self, channels: int, height: int, width: int) -> Shape:
        """Return what an image of this size becomes: (channels, height, width).

        Raises:
            ShapeError: the crop is larger than the image; the mean is of another size.
        """
        if height < self.crop or width < self.crop:
            raise ShapeError(f"crop_size {self.crop} exceeds the image's {height}x{width}")
        if self._mean is not None and self._mean.shape != (channels, height, width):
            raise ShapeError(
                f"the mean_file has {_say(self._mean.shape)} values, and the image "
                f"{_say((channels, height, width))}"
            )
        if len(self._values) not in (0, 1, channels):
            raise ShapeError(
                f"gives {len(self._values)} mean_value for {channels} channels; one, or one each"
            )
        return (channels, self.crop or height, self.crop or width)

    def pixels(self, record: Record) -> AnyArray:
        """Return a record's (channels, height, width), decoded where it is encoded."""
        if record.pixels is not None:
            return record.pixels
        return planes(decode(record.encoded, record.name, self.color))

    def apply(self, pixels: AnyArray, draw: Draw, out: Array) -> None:
        """Write an image's values.

        Args:
            pixels: (channels, height, width); bytes or float32.
            draw: its words.
            out: of the shape that `shape` gives.

        Raises:
            ShapeError: as for `shape`, or `out` is of another shape.
        """
        channels, height, width = pixels.shape
        shape = self.shape(channels, height, width)
        if shape != out.shape:
            raise ShapeError(f"is {_say(shape)} in a batch of {_say(out.shape)}; all of one size")
        top, left = self._corner(height, width, draw)
        rows, columns = slice(top, top + shape[1]), slice(left, left + shape[2])
        cut = pixels[:, rows, columns]
        mean, turned = self._means
        if draw.mirror % 2:
            cut = _mirrored(cut)
            # The same columns, counted from the other side.
            mean, columns = turned, slice(width - columns.stop, width - columns.start)
        if self._mean is not None:
            mean = mean[:, rows, columns]
        # Converting, subtracting and scaling one after another is faster than all at once.
        np.copyto(out, cut)
        if mean.size:
            np.subtract(out, mean, out=out)
        if self._scale != 1:
            np.multiply(out, self._scale, out=out)

    def _corner(self, height: int, width: int, draw: Draw) -> tuple[int, int]:
        if self.random_crop:
            return draw.top % (height - self.crop + 1), draw.left % (width - self.crop + 1)
        if self.crop:
            return (height - self.crop) // 2, (width - self.crop) // 2
        return 0, 0

    def state(self) -> State:
        """Return the engine's position."""
        return {} if self._engine is None else {"transform": self._engine.position()}

    def restore(self, state: State) -> None:
        """Go to a position that `state` returned."""
        if self._engine is not None:
            self._engine.seek(state["transform"])


def _mirrored(cut: AnyArray) -> AnyArray:
    """Return (channels, height, width) turned left to right.

    Numpy turns bytes one by one, which takes longer than all the rest. So they are turned by
    eights, from the last row's end to the first row's start, and the rows back into order.
    """
    if cut.dtype != np.uint8:
        return cut[:, :, ::-1]
    whole = np.empty(-(-cut.size // 8) * 8, np.uint8)
    whole[: cut.size].reshape(cut.shape)[:] = cut
    turned = whole.view(np.uint64)[::-1].byteswap().view(np.uint8)
    return turned[whole.size - cut.size :].reshape(cut.shape)[::-1, ::-1]


def _say(shape: Shape) -> str:
    return "x".join(map(str, shape))


def fill(
    transform: Transform,
    images: Sequence[tuple[str, AnyArray]],
    labels: Sequence[float],
    buffers: Buffers,
    tops: int,
) -> Plan:
    """Plan a batch of images and labels; the first image decides the size of all.

    Args:
        transform: what is done to each image.
        images: each one's name and pixels, (channels, height, width).
        labels: each one's label.
        buffers: where the batch's memory comes from.
        tops: 1: images alone; 2: images and labels.
    """
    first, pixels = images[0]
    with naming(first):
        shape = transform.shape(*pixels.shape)
    batch = buffers.take((len(images), *shape))
    draws = transform.draw(len(images))
    jobs = [
        functools.partial(_apply, transform, name, pixels, draw, out)
        for (name, pixels), draw, out in zip(images, draws, batch, strict=True)
    ]
    arrays: list[AnyArray] = [batch, np.array(labels, np.float32)]
    return Plan(arrays[:tops], jobs)


def _apply(transform: Transform, name: str, pixels: AnyArray, draw: Draw, out: Array) -> None:
    with naming(name):
        transform.apply(pixels, draw, out)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put a record's name in front of a ShapeError raised inside."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"{name}: {error}") from None
