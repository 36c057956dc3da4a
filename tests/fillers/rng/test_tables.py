"""The layers of the ziggurats."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.fillers.rng.tables import exponential_table, normal_table

from ...cases import GOLDEN


@pytest.mark.parametrize("name", ["normal", "exponential"])
def test_tables_equal_boost_s(name):
    table = {"normal": normal_table, "exponential": exponential_table}[name]()
    with np.load(GOLDEN / "rng" / "ziggurat_tables.npz") as want:
        assert np.array_equal(table.x, want[f"{name}_x"])
        assert np.array_equal(table.y, want[f"{name}_y"])
