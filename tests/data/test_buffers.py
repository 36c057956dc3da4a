"""Memory that comes back: only when no view of it is left."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.data.buffers import Buffers
from caffe_compat.errors import CaffeCompatError


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_nobody_looks_at_it():
    buffers = Buffers()
    first = buffers.take((2, 3))
    place = address(first)
    view = first[1].reshape(3)[1:]
    del first
    assert address(buffers.take((2, 3))) != place
    del view
    assert address(buffers.take((3, 2))) == place


def test_memory_of_another_size_is_not():
    buffers = Buffers()
    array = buffers.take((2, 3))
    place = address(array)
    del array
    larger = buffers.take((20, 300))
    assert larger.shape == (20, 300)
    assert address(larger) != place
    larger[:] = np.nan


def test_more_than_the_machine_has_is_refused():
    with pytest.raises(CaffeCompatError, match="a batch of 4294967296x3x999x999 takes 51,"):
        Buffers().take((2**32, 3, 999, 999))
