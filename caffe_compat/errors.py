"""The errors that this package raises on purpose; all are `CaffeCompatError`."""

from __future__ import annotations


class CaffeCompatError(Exception):
    """What was asked cannot be done; the message is one line for the person who asked."""


class ParseError(CaffeCompatError, ValueError):
    """A file does not say what its format requires; the message names file, line and column."""


class ShapeError(CaffeCompatError, ValueError):
    """Shapes or parameters contradict each other, where Caffe's CHECKs would abort."""


class WeightsError(CaffeCompatError, ValueError):
    """A weights file is damaged, is not one, or does not fit the net."""


class UnsupportedError(CaffeCompatError, NotImplementedError):
    """Understood, and refused by name, since the result would not be exactly Caffe's."""


class DeviceError(CaffeCompatError, RuntimeError):
    """The device asked for cannot be had on this machine."""
