"""What Python 2 computes where Python 3 computes something else and says nothing."""

from __future__ import annotations

import builtins
import functools
import io
import math
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def _whole(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biu"
    return isinstance(value, int | np.integer | np.bool_)


def div(a: Any, b: Any) -> Any:
    """Return a / b: of whole numbers the quotient rounded down."""
    if _whole(a) and _whole(b):
        return a // b
    old = getattr(type(a), "__div__", None)
    if old is not None and not hasattr(type(a), "__truediv__"):
        return old(a, b)
    return a / b


def idiv(a: Any, b: Any) -> Any:
    """Return a /= b, in place where a is an array."""
    if not _whole(a) or not _whole(b):
        if isinstance(a, np.ndarray) and a.dtype.kind in "biu":
            a[...] = a / b  # numpy then cast back without a word
            return a
        if not hasattr(type(a), "__truediv__"):
            return div(a, b)
        a /= b
        return a
    a //= b
    return a


def round(number: Any, digits: int = 0) -> Any:
    """Return a number rounded, halves away from zero, as a float."""
    if not isinstance(number, int | float | np.number):
        own: Any = number
        return own.__round__(digits) if digits else own.__round__()
    scale = 10.0**digits
    scaled = abs(float(number)) * scale
    if not math.isfinite(scaled):
        return float(number)
    whole = math.floor(scaled)
    whole += scaled - whole >= 0.5
    return math.copysign(whole / scale, number)


def lt(a: Any, b: Any) -> Any:
    """Return a < b; values that Python 3 cannot compare stand in Python 2's order."""
    try:
        return a < b
    except TypeError:
        return _rank(a) < _rank(b)


def le(a: Any, b: Any) -> Any:
    """Return a <= b, likewise."""
    try:
        return a <= b
    except TypeError:
        return _rank(a) <= _rank(b)


def gt(a: Any, b: Any) -> Any:
    """Return a > b, likewise."""
    try:
        return a > b
    except TypeError:
        return _rank(a) > _rank(b)


def ge(a: Any, b: Any) -> Any:
    """Return a >= b, likewise."""
    try:
        return a >= b
    except TypeError:
        return _rank(a) >= _rank(b)


def cmp(a: Any, b: Any) -> int:
    """Return -1, 0 or 1 as a is less than, equal to or greater than b."""
    return int(bool(gt(a, b))) - int(bool(lt(a, b)))


def sort(values: Any, *args: Any, **options: Any) -> Any:
    """Sort by the method of that name, whose argument is a comparison where it is a list's."""
    if isinstance(values, list):
        return values.sort(**_keyed(args, options))
    return values.sort(*args, **options)


def sorted_(values: Any, *args: Any, **options: Any) -> list[Any]:
    """Return the values sorted, by a comparison, a key or both."""
    return sorted(values, **_keyed(args, options))


def _keyed(args: Sequence[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return sort's keywords of today for (cmp, key, reverse)."""
    keywords = {**dict(zip(("cmp", "key", "reverse"), args, strict=False)), **options}
    order, key = keywords.pop("cmp", None), keywords.get("key")
    if order is not None:
        by_order = functools.cmp_to_key(order)
        keywords["key"] = by_order if key is None else lambda value: by_order(key(value))
    return keywords


def _rank(value: Any) -> tuple[Any, ...]:
    """Return a value's place: None, numbers, then the rest by the name of the type."""
    number = isinstance(value, int | float | np.number)
    return (value is not None, "" if number else type(value).__name__, id(value))


def bound(value: Any) -> Any:
    """Return a slice's bound: a float, which numpy took until 1.12, as a whole number."""
    return int(value) if isinstance(value, float | np.floating) else value


def str_(value: Any) -> Any:
    """Return a value's text; bytes are text already."""
    return value if isinstance(value, bytes) else str(value)


def int_(*args: Any) -> Any:
    """Return a whole number; of an array of one value its value, which numpy 2.4 refuses."""
    return int(*map(_scalar, args))


def float_(*args: Any) -> Any:
    """Return a number, likewise."""
    return float(*map(_scalar, args))


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def old_transforms(module: Any) -> None:
    """Let scikit-image's resize and rescale do what they did by default until 0.15."""
    resize, rescale = module.resize, module.rescale

    def old_resize(image: Any, output_shape: Any, order: int = 1, **options: Any) -> Any:
        return resize(image, output_shape, order, **{**_OLD_TRANSFORM, **options})

    def old_rescale(image: Any, scale: Any, order: int = 1, **options: Any) -> Any:
        color = np.ndim(image) == 3 and np.shape(image)[-1] in (3, 4)
        options.pop("multichannel", None)
        options.setdefault("channel_axis", -1 if color else None)
        return rescale(image, scale, order, **{**_OLD_TRANSFORM, **options})

    module.resize, module.rescale = old_resize, old_rescale


_OLD_TRANSFORM = {"mode": "constant", "anti_aliasing": False}


def tostring(value: Any) -> Any:
    """Return an array's bytes; of anything else what its own method returns."""
    return value.tobytes() if isinstance(value, np.ndarray | np.generic) else value.tostring()


class _Writer(io.BufferedWriter):
    """A file that is written to: bytes as they are, text in UTF-8."""

    def write(self, data: Any) -> int:
        """Write bytes or text."""
        return super().write(data.encode() if isinstance(data, str) else data)

    def writelines(self, lines: Any) -> None:
        """Write lines of either."""
        for line in lines:
            self.write(line)


class _Random(io.BufferedRandom):
    """The same for a file that is read too."""

    def write(self, data: Any) -> int:
        """Write bytes or text."""
        return super().write(data.encode() if isinstance(data, str) else data)


def open(name: Any, mode: str = "r", buffering: int = -1, **options: Any) -> Any:
    """Open a file, whose text is bytes in Python 2: what is no text is read as bytes."""
    if options or not isinstance(name, str | os.PathLike):
        return builtins.open(name, mode, buffering, **options)  # noqa: PTH123
    if set(mode) & set("wax+"):
        raw = io.FileIO(name, "".join(letter for letter in mode if letter in "rwax+"))
        return _Random(raw) if "+" in mode else _Writer(raw)
    if "b" in mode or _is_binary(name):
        return Path(name).open("rb")
    return Path(name).open(encoding="utf-8", errors="surrogateescape")


def _is_binary(name: Any) -> bool:
    with Path(name).open("rb") as file:
        begin = file.read(1 << 16)
    try:
        begin[: -4 or None].decode()
    except UnicodeDecodeError as error:
        return b"\0" in begin or error.start < len(begin) - 8
    return b"\0" in begin


def lenient_tempfile(module: Any) -> None:
    """Let temporary files opened as binary, as they are by default, take text."""
    plain = module.NamedTemporaryFile

    def named_temporary_file(*args: Any, **options: Any) -> Any:
        wrapper = plain(*args, **options)
        if isinstance(wrapper.file, io.BufferedIOBase):
            write = wrapper.file.write
            wrapper.write = lambda data: write(data.encode() if isinstance(data, str) else data)
        return wrapper

    module.NamedTemporaryFile = named_temporary_file


class StringIO(io.BytesIO):
    """A file in memory, of text or of bytes: `getvalue` returns text if nothing else came in."""

    def __init__(self, initial: Any = "") -> None:
        self._text = isinstance(initial, str)
        super().__init__(initial.encode() if isinstance(initial, str) else initial)

    def write(self, data: Any) -> int:
        """Write bytes or text."""
        if isinstance(data, str):
            return super().write(data.encode())
        self._text = False
        return super().write(data)

    def getvalue(self) -> Any:
        """Return all that was written."""
        value = super().getvalue()
        return value.decode() if self._text else value


def modules() -> dict[str, ModuleType]:
    """Return modules of Python 2 that need more than their new name."""
    pickles = ModuleType("cPickle")
    vars(pickles).update({name: getattr(pickle, name) for name in pickle.__all__})
    vars(pickles).update(load=_load, loads=_loads, HIGHEST_PROTOCOL=2)
    files = ModuleType("StringIO")
    vars(files).update(StringIO=StringIO)
    return {"cPickle": pickles, "StringIO": files, "cStringIO": files}


def _load(file: Any, **options: Any) -> Any:
    """Read a pickle that Python 2 may have written, from a file opened as text or not."""
    return pickle.load(getattr(file, "buffer", file), **{"encoding": "latin1", **options})


def _loads(data: Any, **options: Any) -> Any:
    return pickle.loads(data, **{"encoding": "latin1", **options})
