"""Packages that old scripts and `caffe.io` need and the core does not, loaded at first use."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import CaffeCompatError

_NAMES = {
    "skimage": "scikit-image",
    "scipy": "scipy",
    "pydot": "pydot",
    "fissix": "fissix",
    "six": "six",
}


def load(module: str) -> Any:
    """Import a module and return its top-level package.

    Raises:
        CaffeCompatError: the package is not installed; the message says how to install it.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(module)
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise CaffeCompatError(
            f"{_NAMES[package]} is not installed, and this needs it: "
            "pip install 'caffe_compat[pycaffe]'"
        ) from error
