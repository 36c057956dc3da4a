"""Datums: what a record of a database holds, checked against what it declares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from ..caffe_pb2 import Datum
from ..errors import ParseError
from ..types import AnyArray
from .cursor import Value


class Record(NamedTuple):
    """A record, not yet decoded.

    Attributes:
        name: what to call it in errors.
        label: the label; 0 where it has none.
        pixels: (channels, height, width), uint8 or float32; None where it is encoded.
        encoded: the bytes of an image file; empty where it is not encoded.
    """

    name: str
    label: int
    pixels: AnyArray | None
    encoded: Value


def name_of(source: object, key: bytes) -> str:
    """Return what to call a record in errors."""
    return f"{source}: key '{key.decode(errors='backslashreplace')}'"


def parse(value: Value, name: str) -> Datum:
    """Read a serialized Datum.

    Raises:
        ParseError: it is none.
    """
    try:
        return Datum.FromString(value)  # type: ignore[arg-type]  # its stubs know bytes alone
    except DecodeError:
        raise ParseError(f"{name}: not a Datum") from None


def read(datum: Datum, name: str) -> Record:
    """Look at a Datum's contents.

    Raises:
        ParseError: it holds fewer values than it declares, or none.
    """
    data = datum.data  # a copy at each look
    if datum.encoded:
        return Record(name, datum.label, None, data)
    shape = (datum.channels, datum.height, datum.width)
    say = "x".join(map(str, shape))
    if min(shape) < 1:
        raise ParseError(f"{name}: declares an image of {say} (channels x height x width)")
    count = shape[0] * shape[1] * shape[2]
    # Caffe looks at float_data only where there are no bytes, and never behind the declared size.
    size = len(data) or len(datum.float_data)
    if size < count:
        raise ParseError(f"{name}: declares {say} = {count} values and holds {size}")
    if data:
        pixels: AnyArray = np.frombuffer(data, np.uint8, count)
    else:
        pixels = np.array(datum.float_data, np.float32)[:count]
    return Record(name, datum.label, pixels.reshape(shape), b"")


def of_pixels(pixels: AnyArray, label: int | None = None) -> Datum:
    """Return the Datum of an image.

    Args:
        pixels: (channels, height, width); uint8 becomes bytes, all else float_data.
        label: the label; None: without one.
    """
    channels, height, width = pixels.shape
    datum = Datum(channels=channels, height=height, width=width, label=label, encoded=False)
    if pixels.dtype == np.uint8:
        datum.data = pixels.tobytes()
    else:
        datum.float_data.extend(np.asarray(pixels, np.float32).ravel().tolist())
    return datum
