"""OpenCV 4.14's recorded answers (golden/opencv/record.py)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ..cases import GOLDEN


@pytest.fixture(scope="module")
def recorded():
    with np.load(GOLDEN / "opencv" / "nets.npz") as arrays:
        return json.loads((GOLDEN / "opencv" / "nets.json").read_text()), dict(arrays)
