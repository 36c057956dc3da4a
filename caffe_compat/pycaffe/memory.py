"""The memory behind blobs: float32 values in the machine's memory, and where needed on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..types import Array


class Memory:
    """float32 values that one or several blobs show; zeros until written (SyncedMemory).

    On a GPU they are a tensor of PyTorch's, which is filled when a layer there first reads it.
    Copies run when one side reads what the other has written. While a script has a view of the
    values, both sides are alike after every pass: what it writes is what the GPU computes with.
    """

    __slots__ = ("_array", "_device_newer", "_fill", "_host_newer", "_tensor", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._array: Array | None = None
        self._fill: Callable[[Array], None] | None = None
        self._tensor: Any = None
        self._host_newer = False  # whether a script may have written what the tensor lacks
        self._device_newer = False  # whether the tensor has values that the array lacks

    @property
    def array(self) -> Array:
        """The values, flat."""
        if self._array is None:
            self._array = np.zeros(self.size, np.float32)
        if self._fill is not None:
            fill, self._fill = self._fill, None
            fill(self._array)
        if self._tensor is not None:
            self._pull()
            self._host_newer = True
        return self._array

    def tensor(self, device: str) -> Any:
        """Return the values as a flat tensor on a device; after writing call `mark_written`."""
        import torch

        if self._tensor is None or self._tensor.device != torch.device(device):
            self._tensor = torch.empty_like(torch.from_numpy(self.array), device=device)
            self._host_newer = True
        if self._host_newer or self._is_viewed():
            self._tensor.copy_(torch.from_numpy(self._array))
            self._host_newer = False
        return self._tensor

    def mark_written(self) -> None:
        """Note that the tensor has new values, if it was taken later than the array."""
        if self._tensor is None or self._host_newer:
            return
        self._device_newer = True
        if self._is_viewed():
            self._pull()

    def _pull(self) -> None:
        if self._device_newer:
            import torch

            torch.from_numpy(self._array).copy_(self._tensor)
            self._device_newer = False

    def _is_viewed(self) -> bool:
        return self._references() > _OWN_REFERENCES

    def _references(self) -> int:
        return sys.getrefcount(self._array)

    def fill_later(self, fill: Callable[[Array], None]) -> None:
        """Fill the values when they are first read, unless `overwrite` comes before."""
        self._fill = fill

    def overwrite(self) -> Array:
        """Return the values to a caller who writes all of them."""
        self._fill = None
        return self.array

    @property
    def untouched(self) -> bool:
        """Whether nobody has read or written the values yet."""
        return self._array is None and self._fill is None


def _own_references() -> int:
    """Return how many references there are to an array of which nobody has a view."""
    memory = Memory(1)
    memory.array.fill(0)
    return memory._references()


_OWN_REFERENCES = _own_references()
