"""Functions that a module's code calls by name, because they read the sizes of their tensors.

All others are small enough to stand in the code as the torch functions that they call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import fx

_F = TypeVar("_F", bound=Callable[..., Any])


def whole(function: _F) -> _F:
    """Write a call of the function into the code that its arguments belong to, if they do."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        written = [x for x in (*args, *kwargs.values()) if isinstance(x, fx.Proxy)]
        if not written:
            return function(*args, **kwargs)
        return written[0].tracer.create_proxy("call_function", call, args, kwargs)

    return call  # type: ignore[return-value]
