"""The options that stand for the library's arguments, where an error proposes those."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..errors import Changes

_FLAGS = {
    "allow_missing": "--allow-missing",
    "allow_reshape": "--allow-reshape",
    "batch": "--batch N|dynamic",
    "blobs": "--blob NAME",
    "data": "--data net",
    "deploy": "--deploy",
    "feeds": "--feed NAME=FILE.npy",
    "fork": "--fork NAME",
    "ignore_unknown": "--ignore-unknown A,B",
    "inputs": "--input NAME=1x3x224x224",
    "labels": "--labels FILE",
    "leave_out": "--leave-out TYPE|NAME",
    "mean": "--mean-file FILE",
    "opset": "--opset N",
    "preprocess": "--preset NAME, --mean, --scale, ...",
    "register": "--custom PATH.py",
    "stages": "--stage S",
    "resize": "--resize HxW",
    "target": "--target cuda",
    "until": "--until BLOB",
    "weights_as": "--weights-as external|in-place",
}


def flags_of(error: object) -> str:
    """Return ` (--fork NAME)` for an error that proposes `fork=...`; empty for any other.

    A record of the log may propose an argument with its value: ` (--batch 4)`.
    """
    if changes := getattr(error, "proposal", None):
        return f" ({shlex.join(words_of(changes))})"
    flags = [_FLAGS[name] for name in getattr(error, "remedies", ()) if name in _FLAGS]
    return f" ({', '.join(flags)})" if flags else ""


def words_of(changes: Changes) -> Iterator[str]:
    """Yield the command line's words for arguments with their values, as an error proposes."""
    for name, value in changes.items():
        option = _FLAGS[name].split()[0] if name in _FLAGS else f"--{name}"
        if name == "inputs":
            for blob, dims in value.items():
                sizes = "x".join("?" if n is None else str(n) for n in dims)
                yield from (option, f"{blob}={sizes}")
        elif name in ("stages", "blobs"):
            yield from (word for each in value for word in (option, each))
        elif value is True:
            yield option
        else:
            yield from (option, value if isinstance(value, str) else ",".join(map(str, value)))
