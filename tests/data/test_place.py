"""Places as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.data.place import pack, unpack
from caffe_compat.errors import ParseError


def test_places_come_back_as_they_were():
    places = {
        "a/b": {"key": b"\0\xff", "offset": 2**40, "order": np.arange(3)},
        "c": {"words": np.array([1, 2**32 - 1], np.uint32)},
    }
    found = unpack(pack(places), ["a/b", "c"])
    assert found["a/b"]["key"] == b"\0\xff"
    assert found["a/b"]["offset"] == 2**40
    np.testing.assert_array_equal(found["a/b"]["order"], np.arange(3))
    np.testing.assert_array_equal(found["c"]["words"], np.uint32([1, 2**32 - 1]))


@pytest.mark.parametrize("data", [b"", b"PK", pack({"a": {"at": 1}})[:-30]])
def test_other_bytes_are_refused(data):
    with pytest.raises(ParseError, match="not the place of a reader"):
        unpack(data, ["a"])
