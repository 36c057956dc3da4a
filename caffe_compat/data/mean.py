"""The mean image of a database, to the bit as Caffe's compute_image_mean."""

from __future__ import annotations

import functools
import os
from contextlib import closing
from typing import NamedTuple

import numpy as np

from ..caffe_pb2 import BlobProto
from ..errors import ParseError, ShapeError
from ..files import writing
from ..progress import track
from ..types import AnyArray, Array
from .cursor import Backend, Value
from .database import count, records
from .datum import name_of, parse, read
from .images import decode, planes
from .ordered import ordered_map


class Mean(NamedTuple):
    """A database's mean.

    Attributes:
        image: (channels, height, width).
        channels: each channel's, over its pixels.
        records: how many there are in it.
        skipped: by record why it could not be read.
    """

    image: Array
    channels: Array
    records: int
    skipped: dict[str, str]


def compute_image_mean(
    database: str | os.PathLike[str], backend: Backend | None = None, *, skip_bad: bool = False
) -> Mean:
    """Compute the mean of a database's images, in float32 and in their order, as Caffe does.

    Args:
        database: the folder of an LMDB or a LevelDB of Datums.
        backend: which it is; None: what it looks like.
        skip_bad: pass over records that cannot be read, and count them.

    Raises:
        ParseError: the database or a record cannot be read.
        ShapeError: an image has another number of values than the first.
    """
    skipped: dict[str, str] = {}
    total: Array | None = None
    done = 0
    load = functools.partial(_load, str(database), skip_bad=skip_bad)
    with closing(ordered_map(load, records(database, backend))) as loaded:
        for _ in track(range(count(database, backend)), "adding up"):
            name, pixels, reason = next(loaded)
            if pixels is None:
                skipped[name] = reason
                continue
            if total is None:
                total = np.zeros(pixels.shape, np.float32)
            if pixels.size != total.size:
                raise ShapeError(f"{name}: has {pixels.size} values, and the first {total.size}")
            np.add(total, pixels.reshape(total.shape), out=total)
            done += 1
    if total is None:
        raise ParseError(f"{database}: none of its records can be read")
    image: Array = total / np.float32(done)
    rows = image.reshape(len(image), -1)
    sums: Array = np.cumsum(rows, axis=1, dtype=np.float32)[:, -1]  # one by one, as Caffe adds
    return Mean(image, sums / np.float32(rows.shape[1]), done, skipped)


def _load(
    database: str, record: tuple[bytes, Value], *, skip_bad: bool
) -> tuple[str, AnyArray | None, str]:
    """Return a record's name, and its pixels or why there are none."""
    name = name_of(database, record[0])
    try:
        found = read(parse(record[1], name), name)
        pixels = found.pixels
        if pixels is None:
            pixels = planes(decode(found.encoded, name))
    except ParseError as error:
        if not skip_bad:
            raise
        return name, None, str(error)
    return name, pixels, ""


def write_mean(image: Array, path: str | os.PathLike[str]) -> None:
    """Write a mean image as a binaryproto, byte for byte as Caffe's tool does.

    Args:
        image: (channels, height, width).
        path: the file.

    Raises:
        CaffeCompatError: it cannot be written.
    """
    channels, height, width = image.shape
    blob = BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(image.ravel().tolist())
    with writing(path) as file:
        file.write(blob.SerializeToString())
