"""The places of a net's sources as bytes, for a training that goes on later."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import ParseError
from ..types import AnyArray
from .source import State


def pack(places: Mapping[str, State]) -> bytes:
    """Return the places of a net's layers, by name, as a .npz file's bytes."""
    arrays = {
        f"{layer}/{name}": np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        for layer, place in places.items()
        for name, value in place.items()
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{k: np.asarray(value) for k, value in arrays.items()})
    return file.getvalue()


def unpack(data: bytes, layers: Iterable[str]) -> dict[str, State]:
    """Return the places that `pack` was given.

    Raises:
        ParseError: the bytes are others, or of a net with other data layers.
    """
    places: dict[str, State] = {name: {} for name in layers}
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for full in arrays:
                layer, _, name = full.rpartition("/")
                places[layer][name] = _value(arrays[full])
    except KeyError as error:
        raise ParseError(f"the place of a reader of another net: it has a layer {error}") from None
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ParseError(f"not the place of a reader: {error}") from None
    missing = [name for name, place in places.items() if not place]
    if missing:
        raise ParseError(f"the place of a reader of another net: it has no layer '{missing[0]}'")
    return places


def _value(array: AnyArray) -> AnyArray | bytes | int:
    if array.dtype == np.uint8:
        return array.tobytes()
    return array if array.ndim else int(array)
