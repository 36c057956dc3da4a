"""Weights files from bytes."""

from __future__ import annotations

import pytest

from caffe_compat import weights


@pytest.fixture
def read(tmp_path):
    """A function that writes bytes to a caffemodel and opens it."""

    def write_and_read(data: bytes) -> weights.Weights:
        path = tmp_path / "net.caffemodel"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return weights.read(path)

    return write_and_read
