"""What Python 2 computes where Python 3 computes something else and says nothing."""

from __future__ import annotations

import math
import pickle
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


def tostring(value: Any) -> Any:
    """Return an array's bytes; of anything else what its own method returns."""
    return value.tobytes() if isinstance(value, np.ndarray | np.generic) else value.tostring()


def modules() -> dict[str, ModuleType]:
    """Return modules of Python 2 that need more than their new name."""
    module = ModuleType("cPickle")
    vars(module).update({name: getattr(pickle, name) for name in pickle.__all__})
    vars(module).update(load=_load, loads=_loads, HIGHEST_PROTOCOL=2)
    return {"cPickle": module}


def _load(file: Any, **options: Any) -> Any:
    """Read a pickle that Python 2 may have written, from a file opened as text or not."""
    return pickle.load(getattr(file, "buffer", file), **{"encoding": "latin1", **options})


def _loads(data: Any, **options: Any) -> Any:
    return pickle.loads(data, **{"encoding": "latin1", **options})
