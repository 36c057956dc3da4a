"""Caffe's names as Python's: of layers, of inputs and of parameters."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..layers.names import Names


def attributes(names: Sequence[str], taken: Callable[[str], bool]) -> list[str]:
    """Return a name for each, fit for an attribute of a torch module, no two of them alike.

    torch keeps slashes, spaces and digits; dots and quotes would break its paths and its code, and
    Python reads some letters as others (NFKC).

    Args:
        names: layers' names.
        taken: whether a module has an attribute of that name already.
    """

    def fit(name: str) -> str:
        plain = unicodedata.normalize("NFKC", name)
        clean = "".join(c if c.isprintable() and c not in "\\.\"'`" else "_" for c in plain) or "_"
        return f"{clean}_" if keyword.iskeyword(clean) or taken(clean) else clean

    return _distinct(names, fit)


def identifiers(names: Sequence[str]) -> list[str]:
    """Return a name for each, fit for a Python argument, no two of them alike."""

    def fit(name: str) -> str:
        clean = re.sub(r"\W", "_", name, flags=re.ASCII)
        clean = f"_{clean}" if not clean or clean[0].isdigit() else clean
        return f"{clean}_" if keyword.iskeyword(clean) or clean == "self" else clean

    return _distinct(names, fit)


def _distinct(names: Sequence[str], fit: Callable[[str], str]) -> list[str]:
    """Make names fit and distinct; those that are fit already keep theirs."""
    used = Names()
    own: dict[int, str] = {}
    for changed in (False, True):
        for i, name in enumerate(names):
            if i not in own and (changed or (fit(name) == name and name not in own.values())):
                own[i] = used.unique(fit(name))
    return [own[i] for i in range(len(names))]


@dataclass(frozen=True)
class NameMap:
    """Caffe's names and torch's, both ways.

    Attributes:
        layers: of each submodule the layer that it is.
        inputs: of each argument of `forward` the input blob that it is.
        params: of each key of `state_dict()` its layer and the blob's place in it.
    """

    layers: dict[str, str]
    inputs: dict[str, str]
    params: dict[str, tuple[str, int]]
