"""Weights as an .npz: written, read back, read by numpy; damaged ones refused."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from caffe_compat import memory, weights
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.weights import npz

BLOBS = [[np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([7, 8])], [], [np.ones(4, "f4")]]


@pytest.fixture
def path(tmp_path):
    npz.write(tmp_path / "w.npz", ["conv1", "relu", "a/b c"], BLOBS)
    return tmp_path / "w.npz"


def test_written_and_read_back(path):
    stored = weights.read(path)
    assert (stored.format, stored.shapes) == ("NPZ", {"conv1": [(2, 3), (2,)], "a/b c": [(4,)]})
    np.testing.assert_array_equal(stored.layers[0].blobs[0].array, BLOBS[0][0])
    assert not stored.layers[0].blobs[0].array.flags.writeable
    report = weights.match(stored, [("conv1", [("weight", (2, 3)), ("bias", (2,))])])
    np.testing.assert_array_equal(report.copied[0][1], [7, 8])
    with np.load(path) as arrays:
        assert list(arrays) == ["conv1/0", "conv1/1", "a/b c/0"]
        np.testing.assert_array_equal(arrays["conv1/0"], BLOBS[0][0])


def test_what_numpy_wrote(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", **{"c/1": np.zeros(3), "c/0": np.ones((2, 1), int)})
    (layer,) = weights.read(tmp_path / "w.npz").layers
    assert [(blob.index, blob.array.dtype, blob.array.shape) for blob in layer.blobs] == [
        (0, np.float32, (2, 1)),
        (1, np.float32, (3,)),
    ]


def test_equal_nets_are_equal_files(path, tmp_path):
    npz.write(tmp_path / "again.npz", ["conv1", "relu", "a/b c"], BLOBS)
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_two_layers_of_one_name(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.npz: two layers are called 'a'"):
        npz.write(tmp_path / "w.npz", ["a", "a"], [BLOBS[0], BLOBS[0]])
    assert not any(tmp_path.iterdir())


def zipped(name, data=b"", kind=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04", "a damaged .npz: "),
        (zipped("archive/data.pkl"), "has 'archive/data.pkl'; an .npz of weights has an array"),
        (zipped("x.npy"), "has 'x.npy'; an .npz"),
        (zipped("a/0.npy", b"cos\nsystem"), "a/0: not a .npy file"),
        (zipped("a/0.npy", bytes(50))[:-60], "a damaged .npz: "),
    ],
)
def test_what_is_no_npz(tmp_path, data, says):
    (tmp_path / "w.npz").write_bytes(data)
    with pytest.raises(CaffeCompatError, match=rf"w\.npz: .*{says}|w\.npz: {says}"):
        weights.read(tmp_path / "w.npz")


def test_a_bomb_takes_no_memory(tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array(header, np.zeros(1 << 22))
    (tmp_path / "w.npz").write_bytes(zipped("a/0.npy", header.getvalue(), zipfile.ZIP_DEFLATED))
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    tracemalloc.start()
    with pytest.raises(CaffeCompatError, match=r"the arrays of .* take 33,554,560 bytes"):
        weights.read(tmp_path / "w.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
