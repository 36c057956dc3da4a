"""onnxruntime's own tools for models, without their warnings and with plain errors."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from ..errors import CaffeCompatError
from .devices import runtime


@contextlib.contextmanager
def quiet(task: str) -> Iterator[None]:
    """Silence onnxruntime's tools, which warn and log at length even if all is well.

    Args:
        task: what the tools do, for their error: "convert the model to float16".

    Raises:
        DeviceError: onnxruntime is not installed.
        CaffeCompatError: the tools fail.
    """
    runtime()
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CaffeCompatError:
        raise
    except Exception as error:  # onnxruntime's code raises many types
        raise CaffeCompatError(f"onnxruntime cannot {task}: {error}") from error
    finally:
        root.setLevel(level)
