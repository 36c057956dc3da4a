"""float32 functions beside glibc's own."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np
import pytest

from caffe_compat.fillers.rng import libm


@pytest.mark.skipif(not ctypes.util.find_library("m"), reason="no libm to compare with")
@pytest.mark.parametrize("name", ["logf", "expf", "cosf", "sinf"])
def test_libm_equals_glibc_s(name):
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("another libm")
    theirs = getattr(library, name)
    theirs.restype, theirs.argtypes = ctypes.c_float, [ctypes.c_float]
    unit = 1 - np.random.default_rng(3).random(20_000, np.float32)
    ours, x = {
        "logf": (libm.log, unit),
        "expf": (libm.exp, -12 * unit),
        "cosf": (lambda x: libm.cos_sin(x)[0], np.float32(2 * np.pi) * unit),
        "sinf": (lambda x: libm.cos_sin(x)[1], np.float32(2 * np.pi) * unit),
    }[name]
    assert np.array_equal(ours(x), np.array([theirs(float(v)) for v in x], np.float32))
