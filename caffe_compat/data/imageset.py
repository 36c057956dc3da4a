"""A database from a list of image files, as Caffe's convert_imageset makes it."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..caffe_pb2 import Datum
from ..errors import ParseError, ShapeError
from ..files import read_bytes
from ..progress import track
from ..types import Shape, Size
from .cursor import Backend
from .database import create
from .datum import of_pixels
from .images import MOST_BYTES, encode, planes, read_file
from .ordered import ordered_map
from .sources.image_list import Line, read_list
from .streams import Engine

log = logging.getLogger("caffe_compat")


@dataclass(frozen=True)
class ImageOptions:
    """How images are stored: the options of convert_imageset.

    Attributes:
        gray: one channel in place of three.
        resize_height: the height to resize to, with `resize_width`; 0: the image's own.
        resize_width: the width to resize to.
        check_size: refuse images of different sizes.
        encoded: store image files, of each one's own format.
        encode_type: store image files of this format: `jpg`, `png`, ...
    """

    gray: bool = False
    resize_height: int = 0
    resize_width: int = 0
    check_size: bool = False
    encoded: bool = False
    encode_type: str = ""

    @property
    def size(self) -> Size | None:
        """The size to resize to; None: each image's own."""
        if self.resize_height > 0 and self.resize_width > 0:
            return self.resize_height, self.resize_width
        return None


@dataclass(frozen=True)
class Converted:
    """The outcome of converting a list.

    Attributes:
        count: of the records written.
        skipped: of the lines whose images could not be read.
    """

    count: int
    skipped: int


def convert_imageset(
    root: str | os.PathLike[str],
    list_file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImageOptions | None = None,
    *,
    backend: Backend = "lmdb",
    shuffle: bool = False,
    seed: int = 1701,
    skip_bad: bool = False,
) -> Converted:
    """Write a database of the images that a list names; record by record as Caffe's tool would.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: a path and a label in each line.
        out: the folder to make; it appears whole or not at all.
        options: how images are stored.
        backend: `lmdb` or `leveldb`.
        shuffle: put the lines into a random order, at `seed`.
        seed: of the shuffle; Caffe's tool takes another at each run.
        skip_bad: pass over images that cannot be read, as Caffe's tool does, and count them.

    Raises:
        ParseError: the list or an image cannot be read.
        ShapeError: images differ in size, with `check_size`.
        CaffeCompatError: `out` exists, or a package of the extra `data` is missing.
    """
    options = options or ImageOptions()
    lines = read_list(Path(list_file))
    if shuffle:
        order = Engine(seed).shuffle(np.arange(len(lines)))
        lines = [lines[i] for i in order.tolist()]
    name = functools.partial(_name, list_file)
    load = functools.partial(_load, options, os.fspath(root), name, skip_bad=skip_bad)
    count, first = 0, None
    with create(out, backend) as database, closing(ordered_map(load, lines)) as records:
        for number, line in enumerate(track(lines, "converting")):
            record = next(records)
            if record is None:
                continue
            value, shape = record
            first = first or shape
            if options.check_size and shape != first:
                raise ShapeError(f"{name(line)}: is {shape}, and the first image is {first}")
            database.put(f"{number:08}_{line.path}".encode(errors="surrogateescape"), value)
            count += 1
    return Converted(count, len(lines) - count)


def _name(list_file: str | os.PathLike[str], line: Line) -> str:
    return f"{list_file}: line {line.number}"


def _load(
    options: ImageOptions, root: str, name: Callable[[Line], str], line: Line, *, skip_bad: bool
) -> tuple[bytes, Shape] | None:
    """Return a line's serialized Datum and its image's shape; None where it is passed over."""
    try:
        return _record(options, root, name(line), line)
    except ParseError as error:
        if not skip_bad:
            raise
        log.warning("skipped: %s", error)
        return None


def _record(options: ImageOptions, root: str, name: str, line: Line) -> tuple[bytes, Shape]:
    # Caffe puts the two together as they are, and documents a root that ends in a slash.
    path = Path(
        root + line.path if not root or root.endswith(("/", os.sep)) else f"{root}/{line.path}"
    )
    image = read_file(path, name, not options.gray, options.size)
    suffix = path.name.rpartition(".")[2].lower()
    wanted = (options.encode_type or (suffix if options.encoded else "")).lower()
    if not wanted:
        datum = of_pixels(planes(image), line.label)
    elif _fits(suffix, wanted) and not (options.resize_height or options.resize_width):
        datum = Datum(data=read_bytes(path, MOST_BYTES), label=line.label, encoded=True)
    else:
        datum = Datum(data=encode(image, f".{wanted}", name), label=line.label, encoded=True)
    return datum.SerializeToString(), image.shape


def _fits(suffix: str, wanted: str) -> bool:
    return suffix == wanted or (suffix, wanted) == ("jpeg", "jpg")
