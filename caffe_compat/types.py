"""Types that several rooms share."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, ...]
"""The sizes of a blob's axes; () is one value."""

Dims: TypeAlias = tuple[int | None, ...]
"""A shape with None on the axes whose size may vary from run to run."""

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

Array: TypeAlias = NDArray[np.float32]
"""A blob's data."""

AnyArray: TypeAlias = NDArray[Any]
"""An array of any dtype."""

Picture: TypeAlias = NDArray[np.uint8]
"""Pixels, height x width x 3, RGB."""
