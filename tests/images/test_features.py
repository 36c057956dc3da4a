"""Feature files: their names, and names that a format cannot have."""

from __future__ import annotations

import os
import sys

import h5py
import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.images.features import Features, write_arrays


@pytest.mark.parametrize("blob", ["../../up", "/abs", "a\\b", "a\0b\n", "..", "c:d*?", "é 1"])
def test_no_blobs_name_leads_out_of_the_folder(tmp_path, blob):
    (made,) = write_arrays(tmp_path / "out", "npy", {blob: np.ones(3)})
    assert made.parent == tmp_path / "out"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [made.name]
    assert made.name.isprintable()
    np.testing.assert_array_equal(np.load(made), np.ones(3))


@pytest.mark.parametrize("blobs", [["a/"], ["."], ["a", "a/b"]])
def test_names_that_hdf5_cannot_have(tmp_path, blobs):
    with pytest.raises(CaffeCompatError, match=r"outputs\.h5: the blob name '.*' cannot be a"):
        write_arrays(tmp_path, "h5", {blob: np.ones(3) for blob in blobs})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["npy", "npz", "h5"])
def test_rows_are_in_the_order_of_the_images(tmp_path, form):
    rows = np.random.default_rng(0).standard_normal((5, 2, 3), np.float32)
    with Features(tmp_path, form, ["x"]) as features:
        for i, row in enumerate(rows):
            features.add(f"{i}.png", {"x": row, "y": row})
            assert not list(tmp_path.glob("*.*"))  # nothing appears before the end
    if form == "npy":
        stored = np.load(tmp_path / "x.npy")
    elif form == "npz":
        stored = np.load(tmp_path / "features.npz")["x"]
    else:
        with h5py.File(tmp_path / "features.h5") as file:
            stored = file["x"][:]
    np.testing.assert_array_equal(stored, rows)
    assert (tmp_path / "images.txt").read_text().split() == [f"{i}.png" for i in range(5)]
    assert {path.name for path in features.files} == {path.name for path in tmp_path.iterdir()}


def test_without_names_all_blobs_of_the_first_image_are_written(tmp_path):
    with Features(tmp_path, "npy", ()) as features:
        features.add("a", {"x": np.ones(2), "y": np.ones(3)})
    assert sorted(path.name for path in features.files) == ["images.txt", "x.npy", "y.npy"]


def test_a_failure_leaves_nothing(tmp_path):
    with (
        pytest.raises(ShapeError, match=r"blob 'x' of b is \(3,\), and was \(2,\)") as caught,
        Features(tmp_path, "npy", ()) as features,
    ):
        features.add("a", {"x": np.ones(2)})
        features.add("b", {"x": np.ones(3)})
    assert caught.value.remedies == ("resize",)
    assert not list(tmp_path.iterdir())


def test_no_image_writes_no_file(tmp_path):
    with Features(tmp_path, "npz", ()) as features:
        pass
    assert features.files == []


def test_an_images_name_is_its_bytes(tmp_path):
    with Features(tmp_path, "npy", ()) as features:
        features.add(os.fsdecode(b"a\xff.png"), {"a": np.ones(2, np.float32)})
    assert (tmp_path / "images.txt").read_bytes() == b"a\xff.png\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
@pytest.mark.parametrize("limit", [0, 1000])
def test_a_full_disk_names_the_folder(tmp_path, limit):
    import resource

    blobs = {"a": np.ones(5000, np.float32)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(CaffeCompatError, match=f"{tmp_path}: cannot be written: "):
            write_arrays(tmp_path, "npz", blobs)
        with (
            pytest.raises(CaffeCompatError, match=f"{tmp_path}: cannot be written: File too"),
            Features(tmp_path, "npy", ()) as features,
        ):
            features.add("a.png", blobs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
