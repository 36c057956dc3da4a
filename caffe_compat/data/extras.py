"""The packages of the extra `data`, imported where they are used and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CaffeCompatError


@contextmanager
def extra(purpose: str, name: str = "data") -> Iterator[None]:
    """Turn an import that fails inside into an error that names the extra to install.

    Raises:
        CaffeCompatError: the package is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise CaffeCompatError(
            f"{purpose} needs a package that is not installed ({error}); "
            f"pip install 'caffe_compat[{name}]'"
        ) from None
