"""The errors that this package raises on purpose; all are `CaffeCompatError`.

A message that proposes a remedy speaks of the library's own arguments (`fork="segnet"`), and
`remedies` names them. A front end that has other words for them adds these behind the message, as
the command line adds `--fork NAME`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from .text import message as one_message

Changes: TypeAlias = Mapping[str, Any]
"""Arguments of the library, by name, that an error proposes with their values."""

_E = TypeVar("_E", bound="CaffeCompatError")


class CaffeCompatError(Exception):
    """A request that cannot be met; the message is one line for the person who made it.

    Args:
        message: the line; control characters in it are escaped, and long names shortened.
        remedies: the names of the arguments or functions of the library that it proposes.
        changes: the arguments with their values, where these are known; several are alternatives,
            the best one first.

    Attributes:
        remedies: the same.
        changes: the same.
    """

    def __init__(
        self,
        message: object = "",
        *,
        remedies: Iterable[str] = (),
        changes: Iterable[Changes] = (),
    ) -> None:
        super().__init__(one_message(str(message)))
        self.remedies = tuple(remedies)
        self.changes = tuple(changes)

    def within(self: _E, place: str) -> _E:
        """Return the same error with a place in front of its message, as `layer 'conv1'`."""
        return self.about(f"{place}: {self}")

    def about(self: _E, message: str) -> _E:
        """Return the same error with another message."""
        return type(self)(message, remedies=self.remedies, changes=self.changes)

    @classmethod
    def joined(cls: type[_E], errors: Iterable[CaffeCompatError]) -> _E:
        """Return several errors as one: their messages, each once, and all their remedies.

        It has as many alternatives of changes as the error with the fewest.
        """
        errors = list(errors)
        messages = dict.fromkeys(str(error) for error in errors)
        remedies = dict.fromkeys(name for error in errors for name in error.remedies)
        alternatives = zip(*(error.changes for error in errors if error.changes), strict=False)
        nothing: Changes = {}
        changes = [functools.reduce(merge, together, nothing) for together in alternatives]
        return cls("; ".join(messages), remedies=remedies, changes=changes)


def merge(first: Changes, second: Changes) -> Changes:
    """Return two sets of changes as one: names are joined, and of two values the second holds."""
    merged = dict(first)
    for name, value in second.items():
        old = merged.get(name)
        if old is not None and isinstance(value, Mapping):
            merged[name] = {**old, **value}
        elif old is not None and isinstance(value, tuple):
            merged[name] = tuple(dict.fromkeys((*old, *value)))
        elif old is not None and name == "fork":
            merged[name] = ",".join(dict.fromkeys((*old.split(","), *value.split(","))))
        else:
            merged[name] = value
    return merged


class ParseError(CaffeCompatError, ValueError):
    """A file that is not what its format requires; the message names file, line and column."""


class ShapeError(CaffeCompatError, ValueError):
    """Shapes or parameters that contradict each other, where Caffe's CHECKs would abort."""


class WeightsError(CaffeCompatError, ValueError):
    """A weights file that is damaged, is not one, or does not fit the net."""


class UnsupportedError(CaffeCompatError, NotImplementedError):
    """A request that is understood and refused, since the result would not be exactly Caffe's."""


class DeviceError(CaffeCompatError, RuntimeError):
    """A device that this machine cannot provide."""


@contextmanager
def in_file(source: object) -> Iterator[None]:
    """Put a file's path in front of the errors that are raised within.

    Args:
        source: the path; of anything else, as a net in memory, nothing is said.
    """
    try:
        yield
    except CaffeCompatError as error:
        if not isinstance(source, str | os.PathLike):
            raise
        raise error.within(os.fspath(source)) from error.__cause__
