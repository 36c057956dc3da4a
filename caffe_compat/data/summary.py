"""The contents of a database: its records by shape and label, and some of them as a picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..caffe_pb2 import AnnotatedDatum, Datum
from ..errors import ParseError
from ..progress import track
from ..types import AnyArray, Picture, Shape
from .cursor import Backend, Value
from .database import backend_of, count, records
from .datum import name_of, parse, read
from .images import check, decode, planes

_TILE = 96  # pixels of a contact sheet's picture, with its label below
_TEXT = 12


@dataclass
class Summary:
    """A database's contents.

    Attributes:
        backend: `lmdb` or `leveldb`.
        count: of the records.
        size: of all values, in bytes.
        kinds: how many records are bytes, floats or encoded, and how many of these have boxes.
        shapes: how many images have each shape: (channels, height, width), or (height, width) of
            an encoded image, which is not decoded for this.
        labels: how many records have each label; None: without one.
        boxes: how many boxes each label has, in a database of AnnotatedDatum.
        skipped: by record why it could not be read.
    """

    backend: Backend
    count: int = 0
    size: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    shapes: Counter[Shape] = field(default_factory=Counter)
    labels: Counter[int | None] = field(default_factory=Counter)
    boxes: Counter[int] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)


def summarize(database: str | os.PathLike[str], *, skip_bad: bool = False) -> Summary:
    """Look at all records of an LMDB or a LevelDB.

    Args:
        database: its folder.
        skip_bad: count records that cannot be read, in place of an error.

    Raises:
        ParseError: the database or a record cannot be read.
    """
    backend = backend_of(database)
    summary = Summary(backend)
    walk = iter(records(database, backend))
    for _ in track(range(count(database, backend)), "reading"):
        key, value = next(walk)
        summary.count += 1
        summary.size += len(value)
        name = name_of(database, key)
        try:
            _add(summary, value, name)
        except ParseError as error:
            if not skip_bad:
                raise
            summary.skipped[name] = str(error)
    return summary


def _add(summary: Summary, value: Value, name: str) -> None:
    datum, annotated = _datum(value, name)
    record = read(datum, name)
    if record.pixels is None:
        kind, shape = "encoded", check(record.encoded, name)
    else:
        kind = "bytes" if record.pixels.dtype == np.uint8 else "floats"
        shape = record.pixels.shape
    summary.kinds[f"{kind}, with boxes" if annotated else kind] += 1
    summary.shapes[shape] += 1
    summary.labels[datum.label if datum.HasField("label") else None] += 1
    for group in annotated.annotation_group if annotated else ():
        summary.boxes[group.group_label] += len(group.annotation)


def _datum(value: Value, name: str) -> tuple[Datum, AnnotatedDatum | None]:
    """Return a record's Datum, and the AnnotatedDatum that it lies in, if it does."""
    datum = parse(value, name)
    if datum.encoded or datum.channels:
        return datum, None
    # An AnnotatedDatum's first field is a message where a Datum's is a number.
    annotated = AnnotatedDatum.FromString(value)  # type: ignore[arg-type]  # its stubs: bytes alone
    return (annotated.datum, annotated) if annotated.HasField("datum") else (datum, None)


def contact_sheet(
    database: str | os.PathLike[str], *, most: int = 64, skip_bad: bool = False
) -> Picture:
    """Draw a database's first images side by side, each above its label.

    Args:
        database: the folder of an LMDB or a LevelDB.
        most: how many to draw.
        skip_bad: pass over records that cannot be read.

    Returns:
        RGB, height x width x 3. Floats are drawn from their least value, black, to their largest;
        of other than 1 or 3 channels the first is drawn.

    Raises:
        ParseError: the database or a record cannot be read.
    """
    from PIL import Image, ImageDraw

    images = list(_images(database, most, skip_bad=skip_bad))
    columns = max(1, int(np.ceil(np.sqrt(len(images)))))
    rows = max(1, -(-len(images) // columns))
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + _TEXT)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(images):
        left, top = i % columns * _TILE, i // columns * (_TILE + _TEXT)
        tile = Image.fromarray(picture)
        scale = (_TILE - 4) / max(tile.size)
        smooth = Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST
        tile = tile.resize([max(1, round(n * scale)) for n in tile.size], smooth)
        sheet.paste(tile, (left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2))
        draw.text((left + _TILE / 2, top + _TILE), label, "black", anchor="mt")
    return np.asarray(sheet, np.uint8)


def _images(
    database: str | os.PathLike[str], most: int, *, skip_bad: bool
) -> Iterator[tuple[Picture, str]]:
    drawn = 0
    for key, value in records(database):
        if drawn == most:
            return
        name = name_of(database, key)
        try:
            datum, _ = _datum(value, name)
            record = read(datum, name)
            pixels = record.pixels
            if pixels is None:
                pixels = planes(decode(record.encoded, name))
        except ParseError:
            if not skip_bad:
                raise
            continue
        drawn += 1
        yield _picture(pixels), str(datum.label) if datum.HasField("label") else ""


def _picture(pixels: AnyArray) -> Picture:
    """Return (channels, height, width) as RGB."""
    if pixels.dtype != np.uint8:
        low, high = np.nanmin(pixels), np.nanmax(pixels)
        pixels = np.nan_to_num((pixels - low) * (255 / max(high - low, np.float32(1e-30))))
    pixels = pixels[2::-1] if len(pixels) in (3, 4) else np.repeat(pixels[:1], 3, axis=0)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0), np.uint8)
