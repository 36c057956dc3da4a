"""The options that stand for the library's arguments, where an error proposes those."""

from __future__ import annotations

_FLAGS = {
    "allow_missing": "--allow-missing",
    "allow_reshape": "--allow-reshape",
    "batch": "--batch N|dynamic",
    "data": "--data net",
    "feeds": "--feed NAME=FILE.npy",
    "fork": "--fork NAME",
    "ignore_unknown": "--ignore-unknown A,B",
    "inputs": "--input NAME=1x3x224x224",
    "mean": "--mean-file FILE",
    "opset": "--opset N",
    "preprocess": "--preset NAME, --mean, --scale, ...",
    "register": "--custom PATH.py",
    "resize": "--resize HxW",
    "weights_as": "--weights-as external|in-place",
}


def flags_of(error: object) -> str:
    """Return ` (--fork NAME)` for an error that proposes `fork=...`; empty for any other."""
    flags = [_FLAGS[name] for name in getattr(error, "remedies", ()) if name in _FLAGS]
    return f" ({', '.join(flags)})" if flags else ""
