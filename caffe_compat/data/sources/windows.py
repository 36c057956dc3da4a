"""WindowData: windows of images, of objects and of background (window_data_layer.cpp)."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import TRAIN, LayerParameter
from ...errors import ParseError, ShapeError
from ...types import Array, Shape
from ..buffers import Buffers
from ..images import Pixels, planes, read_file, resize
from ..source import (
    MOST_BAD,
    Access,
    Bad,
    Plan,
    Run,
    Source,
    State,
    check_batch_size,
    mean_of,
    run_here,
)
from ..streams import Engine
from .window_file import read_windows, split


class Pick(NamedTuple):
    """A window that was drawn."""

    image: int
    label: int
    box: tuple[int, int, int, int]
    mirror: bool


class WindowSource(Source):
    """Windows drawn at random from a WindowData layer's file, background first.

    With several ranks each takes every n-th window of one common sequence of draws.

    Args:
        layer: the layer, with its phase.
        access: how it is read.

    Raises:
        ParseError: the file is missing, or no window file.
        ShapeError: what Caffe's CHECKs refuse, and where Caffe would write outside its blob.
    """

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        p = self._p = layer.window_data_param
        self._batch_size = check_batch_size(p.batch_size)
        self._crop: int = layer.transform_param.crop_size
        if not self._crop:
            raise ShapeError("crop_size must be positive, and is 0")
        self._source = access.paths.find(p.source, "source")
        self._file = read_windows(self._source)
        if self._file.channels != 3:
            raise ShapeError(
                f"{self._source}: gives {self._file.channels} channels; Caffe reads images in color"
            )
        background, objects = split(self._file, p.fg_threshold, p.bg_threshold)
        if not len(objects) or not len(background):
            raise ShapeError(
                f"{self._source}: {len(objects)} windows of objects and {len(background)} of "
                "background; it needs both"
            )
        self._sets = (background, objects)
        foreground = int(np.float32(self._batch_size) * np.float32(p.fg_fraction))
        self._background = self._batch_size - foreground
        # The words in their order: transformer where it needs one, windows, transformer, thread.
        random = len(access.words) == 4
        self._engine = Engine(access.words[int(random)])
        self._warp = Warp(layer, mean_of(layer, access.paths))
        self._buffers = Buffers()
        train = layer.phase == TRAIN
        self._rank, self._ranks = (access.rank, access.ranks) if train else (0, 1)
        self._mirror = layer.transform_param.mirror

    def shapes(self) -> list[Shape]:
        """Return the tops' shapes."""
        return [(self._batch_size, 3, self._crop, self._crop), (self._batch_size,)]

    def plan(self, run: Run = run_here) -> Plan:
        """Draw the next batch: windows of background, then of objects."""
        picks = [self._draw(slot) for slot in range(self._batch_size)]
        images = run(self._attempt, picks)
        for _ in range(MOST_BAD):
            bad = [slot for slot, image in enumerate(images) if isinstance(image, Bad)]
            if not bad:
                break
            for slot in bad:
                self.skip(self._name(picks[slot].image), images[slot].reason)
                picks[slot] = self._draw(slot)
                images[slot] = self._attempt(picks[slot])
        else:
            raise ParseError(f"{self._source}: {MOST_BAD} images in turn cannot be read")
        batch = self._buffers.take(self.shapes()[0])
        jobs = [
            functools.partial(self._fill, pick, image, batch[slot])
            for slot, (pick, image) in enumerate(zip(picks, images, strict=True))
        ]
        labels = np.array([pick.label for pick in picks], np.float32)
        return Plan([batch, labels], jobs)

    def _draw(self, slot: int) -> Pick:
        """Draw the window of a batch's slot; those of other ranks are drawn and dropped."""
        windows = self._sets[slot >= self._background]
        picks = []
        for _ in range(self._ranks):
            row = windows[self._engine.next_u32() % len(windows)].tolist()
            mirror = self._mirror and self._engine.next_u32() % 2 == 1
            picks.append(Pick(row[0], row[1], tuple(row[2:]), mirror))
        return picks[self._rank]

    def _attempt(self, pick: Pick) -> Pixels | Bad:
        return self.attempt(self._load, pick.image)

    def _load(self, image: int) -> Pixels:
        path = self.access.paths.join(self._p.root_folder + self._file.images[image])
        return read_file(path, self._name(image), color=True)

    def _name(self, image: int) -> str:
        return f"{self._source}: image {image}"

    def _fill(self, pick: Pick, image: Pixels, out: Array) -> None:
        try:
            self._warp.apply(image, pick.box, pick.mirror, out)
        except ShapeError as error:
            raise ShapeError(f"{self._name(pick.image)}: window {pick.box}: {error}") from None

    def state(self) -> State:
        """Return the place before the next batch."""
        return {"windows": self._engine.position()}

    def restore(self, state: State) -> None:
        """Go to a place that `state` returned."""
        self._engine.seek(state["windows"])


class Warp:
    """How a window becomes a batch's item: cut, with context, warped, mirrored, transformed.

    Args:
        layer: the layer. Its scale is window_data_param's: Caffe does not look at the other.
        mean: of its mean_file, (channels, height, width); None where it has none.

    Raises:
        ShapeError: the crop does not fit the mean.
    """

    def __init__(self, layer: LayerParameter, mean: Array | None):
        p, transform = layer.window_data_param, layer.transform_param
        self._crop, self._pad = transform.crop_size, p.context_pad
        self._square = p.crop_mode == "square"
        self._scale = np.float32(p.scale)
        if self._crop <= 2 * self._pad:
            raise ShapeError(f"context_pad {self._pad} leaves nothing of crop_size {self._crop}")
        if transform.mean_file and transform.mean_value:
            raise ShapeError("gives both mean_file and mean_value; one of them")
        self._mean: Array | None = None
        if mean is not None:
            offset = (mean.shape[2] - self._crop) // 2  # of both axes, as Caffe has it
            end = offset + self._crop
            if mean.shape[0] != 3 or offset < 0 or end > mean.shape[1]:
                raise ShapeError(f"crop_size {self._crop} does not fit the mean {mean.shape}")
            self._mean = mean[:, offset:end, offset:end]
        elif transform.mean_value:
            if len(transform.mean_value) not in (1, 3):
                raise ShapeError(f"gives {len(transform.mean_value)} mean_value; 1 or 3")
            values = np.array(transform.mean_value, np.float32)[:, np.newaxis, np.newaxis]
            self._mean = np.broadcast_to(values, (3, self._crop, self._crop))

    def apply(
        self, image: Pixels, box: tuple[int, int, int, int], mirror: bool, out: Array
    ) -> None:
        """Write a window's values; what lies outside the image is 0.

        Args:
            image: the whole image.
            box: x1, y1, x2, y2, all within.
            mirror: turn it left to right.
            out: 3 x crop x crop.

        Raises:
            ShapeError: the window lies outside the image.
        """
        placed = self._place(image.shape[:2], box, mirror)
        x1, y1, x2, y2 = placed.box
        height, width = placed.size
        inside = 0 <= x1 <= x2 < image.shape[1] and 0 <= y1 <= y2 < image.shape[0]
        if not inside or height < 1 or width < 1:
            raise ShapeError(f"does not fit the image of {image.shape[0]}x{image.shape[1]}")
        cut = planes(resize(image[y1 : y2 + 1, x1 : x2 + 1], placed.size))
        if mirror:
            cut = cut[:, :, ::-1]
        rows = slice(placed.top, placed.top + height)
        columns = slice(placed.left, placed.left + width)
        out[:] = 0
        target = out[:, rows, columns]
        if self._mean is not None:
            np.subtract(cut, self._mean[:, rows, columns], out=target)
        else:
            np.copyto(target, cut)
        np.multiply(target, self._scale, out=target)

    def _place(self, image: Shape, box: tuple[int, int, int, int], mirror: bool) -> Placed:
        crop = self._crop
        if not self._pad and not self._square:
            return Placed(box, (crop, crop), 0, 0)
        x1, y1, x2, y2 = self._expand(box)
        # What lies outside the image is cut off before warping, and counted.
        outside = (max(0, -x1), max(0, -y1), max(0, x2 - image[1] + 1), max(0, y2 - image[0] + 1))
        scale_x = np.float32(crop) / np.float32(x2 - x1 + 1)
        scale_y = np.float32(crop) / np.float32(y2 - y1 + 1)
        x1, y1, x2, y2 = x1 + outside[0], y1 + outside[1], x2 - outside[2], y2 - outside[3]
        width = _round(np.float32(x2 - x1 + 1) * scale_x)
        height = _round(np.float32(y2 - y1 + 1) * scale_y)
        top = _round(np.float32(outside[1]) * scale_y)
        left = _round(np.float32(outside[2 if mirror else 0]) * scale_x)
        return Placed(
            (x1, y1, x2, y2), (min(height, crop - top), min(width, crop - left)), top, left
        )

    def _expand(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return the box with its context, or the square around it, in float32 as Caffe."""
        x1, y1, x2, y2 = box
        context = np.float32(self._crop) / np.float32(self._crop - 2 * self._pad)
        half_height, half_width = np.float32((y2 - y1 + 1) / 2), np.float32((x2 - x1 + 1) / 2)
        center_x, center_y = np.float32(x1) + half_width, np.float32(y1) + half_height
        if self._square:
            half_height = half_width = max(half_height, half_width)
        return (
            _round(center_x - half_width * context),
            _round(center_y - half_height * context),
            _round(center_x + half_width * context),
            _round(center_y + half_height * context),
        )


class Placed(NamedTuple):
    """The box of a window in its image, and its place in the crop."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]  # height and width that it is warped to
    top: int
    left: int


def _round(x: np.float32) -> int:
    """Round as C does: halves away from zero."""
    return int(math.copysign(math.floor(abs(float(x)) + 0.5), x))
