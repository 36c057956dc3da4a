"""The errors that this package raises on purpose; all are `CaffeCompatError`.

A message that proposes a remedy speaks of the library's arguments (`fork="segnet"`), and
`arguments` lists them by name. A front end that has other words for them, as the command line has
`--fork`, adds its own behind the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

_E = TypeVar("_E", bound="CaffeCompatError")


class CaffeCompatError(Exception):
    """A request that cannot be met; the message is one line for the person who made it.

    Args:
        message: the line.
        arguments: the names of the arguments, of this package's public functions, that the
            message proposes.

    Attributes:
        arguments: the same.
    """

    def __init__(self, message: object = "", *, arguments: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.arguments = tuple(arguments)

    def within(self: _E, place: str) -> _E:
        """Return the same error with a place in front of its message, as `layer 'conv1'`."""
        return type(self)(f"{place}: {self}", arguments=self.arguments)


def joined(errors: Iterable[CaffeCompatError]) -> tuple[str, tuple[str, ...]]:
    """Return several errors' messages as one, each once, and the arguments of all."""
    errors = list(errors)
    messages = dict.fromkeys(str(error) for error in errors)
    return "; ".join(messages), tuple(dict.fromkeys(a for e in errors for a in e.arguments))


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
