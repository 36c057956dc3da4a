"""The file of a WindowData layer: images, and windows in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ParseError, ShapeError
from ...files import read_bytes
from ...types import Array

_MOST_LIST = 1 << 32  # bytes of a window file


class WindowFile(NamedTuple):
    """A window file's contents.

    Attributes:
        images: each image's path.
        channels: of the last image, as the file gives them.
        windows: a row for each window: image, label, x1, y1, x2, y2.
        overlaps: of each window with an object.
    """

    images: list[str]
    channels: int
    windows: NDArray[np.int64]
    overlaps: Array


def read_windows(path: Path) -> WindowFile:
    """Read a window file.

    Raises:
        ParseError: it is missing, empty, or says something else at some word.
    """
    words = iter(read_bytes(path, _MOST_LIST).split())
    images: list[str] = []
    channels = 0
    windows: list[tuple[int, ...]] = []
    overlaps: list[float] = []
    try:
        for mark in words:
            index = _whole(next(words))
            if mark != b"#" or index != len(images):
                raise ParseError(
                    f"{path}: image {len(images)} begins with '{os.fsdecode(mark)} {index}' and "
                    f"not with '# {len(images)}'"
                )
            images.append(os.fsdecode(next(words)))
            channels, _, _, count = (_whole(next(words)) for _ in range(4))
            for _ in range(count):
                label, overlap = _whole(next(words)), float(next(words))
                windows.append((index, label, *(_whole(next(words)) for _ in range(4))))
                overlaps.append(overlap)
    except (StopIteration, RuntimeError):
        raise ParseError(f"{path}: cut short in image {len(images) - 1}") from None
    except ValueError as error:
        if isinstance(error, ParseError):
            raise
        raise ParseError(f"{path}: image {len(images) - 1}: {error}") from None
    if not images:
        raise ParseError(f"{path}: the window file is empty")
    table = np.array(windows, np.int64).reshape(-1, 6)
    return WindowFile(images, channels, table, np.array(overlaps, np.float32))


def _whole(word: bytes) -> int:
    """Return a number as Caffe's stream reads it into an int.

    Raises:
        ValueError: it is none, or has more than 32 bits.
    """
    number = int(word[:20])
    if len(word) > 20 or not -(2**31) <= number < 2**31:
        raise ValueError(f"{os.fsdecode(word[:20])} has more than 32 bits")
    return number


def split(
    file: WindowFile, fg_threshold: float, bg_threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the windows of background, their labels 0, and those of objects.

    Raises:
        ShapeError: an object's label is not positive.
    """
    objects = file.overlaps >= np.float32(fg_threshold)
    background = file.windows[~objects & (file.overlaps < np.float32(bg_threshold))]
    background[:, 1] = 0
    labels = file.windows[objects, 1]
    if (labels < 1).any():
        raise ShapeError(f"an object's window has the label {labels.min()}; it must be above 0")
    return background, file.windows[objects]
