"""The memory of batches, used again when the one who got a batch has let it go."""

from __future__ import annotations

import math
import os
import weakref
from collections import deque

import numpy as np

from ..errors import CaffeCompatError
from ..types import Array, Shape

_KEEP = 4  # free buffers; more than that is returned to the system


class Buffers:
    """Arrays whose memory comes back when neither they nor any view of them is alive.

    New memory costs as much as the transform itself: the system clears each of its pages.
    """

    def __init__(self) -> None:
        # A deque's append and pop are whole: any thread may let go of a batch at any time.
        self._free: deque[bytearray] = deque(maxlen=_KEEP)

    def take(self, shape: Shape) -> Array:
        """Return an array of this shape, with anything in it.

        Raises:
            CaffeCompatError: it would be larger than the machine's memory.
        """
        size = 4 * math.prod(shape)
        _check_room(shape, size)
        memory = self._reuse(size)
        # Not over an array: numpy would let views of this one refer to that one alone.
        array: Array = np.ndarray(shape, np.float32, buffer=memory)
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array

    def _reuse(self, size: int) -> bytearray:
        while self._free:
            memory = self._free.pop()
            if len(memory) == size:
                return memory
        return bytearray(size)


def _check_room(shape: Shape, size: int) -> None:
    try:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return
    if size > have:
        say = "x".join(map(str, shape))
        raise CaffeCompatError(f"a batch of {say} takes {size:,} bytes; the machine has {have:,}")
