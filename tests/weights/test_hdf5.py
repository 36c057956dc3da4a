from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.errors import WeightsError
from caffe_compat.weights import hdf5

CIFAR = Path(__file__).parents[1] / "golden" / "models" / "cifar10_quick" / "weights.caffemodel.h5"
SIX = np.arange(6, dtype="f4").reshape(2, 3)


@pytest.fixture
def read(tmp_path):
    def write_and_read(fill) -> weights.Weights:
        path = tmp_path / "net.caffemodel.h5"
        with h5py.File(path, "w") as file:
            fill(file)
        return weights.read(path)

    return write_and_read


def test_a_real_model_reads_as_h5py_reads_it():
    opened = weights.read(CIFAR)
    data = CIFAR.read_bytes()
    assert (opened.format, opened.name) == ("HDF5", "")
    with h5py.File(CIFAR) as file:
        assert [layer.name for layer in opened.layers] == list(file["data"])
        for layer in opened.layers:
            assert [str(blob.index) for blob in layer.blobs] == list(file["data"][layer.name])
            for blob in layer.blobs:
                expected = file["data"][layer.name][str(blob.index)][()]
                np.testing.assert_array_equal(blob.array, expected, strict=True)
                _, offset, nbytes = weights.location(blob.array)  # a view, not a copy
                assert data[offset : offset + nbytes] == expected.tobytes()
    assert sum(blob.array.size for layer in opened.layers for blob in layer.blobs) == 145578


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "<f8"},
        {"dtype": ">f4"},
        {"dtype": "<i2"},
        {"dtype": "<f4", "chunks": (1, 3)},
        {"dtype": "<f4", "chunks": (2, 2), "compression": "gzip", "shuffle": True},
    ],
)
def test_what_other_tools_wrote_is_converted(read, options):
    opened = read(lambda file: file.create_dataset("data/ip/0", data=SIX, **options))
    ((blob,),) = (layer.blobs for layer in opened.layers)
    np.testing.assert_array_equal(blob.array, SIX, strict=True)
    assert not blob.array.flags.writeable


def test_scalars_empty_blobs_and_gaps(read):
    def fill(file):
        file["data/a/0"] = np.float32(3)
        file["data/a/10"] = SIX
        file["data/a/2"] = np.zeros((0, 4), "f4")
        file.create_group("data/empty")

    a, empty = read(fill).layers
    shapes = [(b.index, b.array.shape) for b in a.blobs]
    assert shapes == [(0, ()), (2, (0, 4)), (10, (2, 3))]
    assert empty.blobs == ()


def write_soft(file):
    file["secret"] = SIX
    file.create_group("data/ip")["0"] = h5py.SoftLink("/secret")


def write_external(file):
    file.create_group("data")["ip"] = h5py.ExternalLink("other.h5", "/data/ip")


def write_external_group(file):
    file["data"] = h5py.ExternalLink("other.h5", "/data")


def write_external_storage(file):
    file.create_dataset("data/ip/0", (2,), "<f4", external=[("other.raw", 0, 8)])


def write_virtual(file):
    layout = h5py.VirtualLayout((2, 3), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2, 3))
    file.create_group("data/ip").create_virtual_dataset("0", layout)


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda f: f.create_group("model_weights"), "no /data in it"),
        (lambda f: f.create_dataset("data", data=SIX), "data: not a group"),
        (lambda f: f.create_dataset("data/ip", data=SIX), "/data/ip: not a group"),
        (lambda f: f.create_group("data/ip/0"), "/data/ip/0: not a dataset"),
        (lambda f: f.create_dataset("data/ip/weight", data=SIX), "ip/weight: not the number of a"),
        (lambda f: f.create_dataset("data/ip/00", data=SIX), "/data/ip/00: not the number of a"),
        (lambda f: f.create_dataset("data/ip/0", data="text"), "neither float nor integer data"),
        (
            lambda f: f.create_dataset("data/ip/0", data=h5py.Empty("<f4")),
            "neither float nor integer data",
        ),
        (
            lambda f: f.create_dataset("data/ip/0", (1 << 20, 1 << 20), "<f4", chunks=(64, 64)),
            "declares 4398046511104 bytes, of which 0 are stored",
        ),
        (lambda f: f.create_dataset("data/ip/0", (1 << 40,), "<f4"), "declares 4398046511104 byt"),
        (write_soft, "/data/ip/0: a link that leads elsewhere"),
        (write_external, "/data/ip: a link that leads elsewhere"),
        (write_external_group, "data: a link that leads elsewhere"),
        (write_external_storage, "its data lies outside the file"),
        (write_virtual, "its data lies outside the file"),
    ],
)
def test_what_caffe_would_not_write_is_refused(read, fill, reason):
    with pytest.raises(WeightsError, match=f"net.caffemodel.h5: .*{reason}"):
        read(fill)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(CIFAR.read_bytes()[:300_000])
    with pytest.raises(WeightsError, match="damaged, or not HDF5"):
        weights.read(path)


def damaged(data: bytes, places: np.ndarray, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for at in rng.choice(places, rng.integers(1, 4)):
        match rng.integers(3):
            case 0:
                out[at] ^= 1 << rng.integers(8)
            case 1:
                out[at] = rng.integers(256)
            case _:
                out[at : at + 8] = rng.bytes(8)
    return bytes(out)


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_give_a_result_or_a_weights_error(tmp_path, count):
    data = CIFAR.read_bytes()
    is_data = np.zeros(len(data), bool)
    for layer in weights.read(CIFAR).layers:
        for blob in layer.blobs:
            _, offset, nbytes = weights.location(blob.array)
            is_data[offset : offset + nbytes] = True
    rng = np.random.default_rng(5)
    refused = 0
    for i in range(count):
        path = tmp_path / str(i)
        path.write_bytes(damaged(data, np.flatnonzero(~is_data), rng))
        try:
            for layer in weights.read(path).layers:
                for blob in layer.blobs:
                    blob.array.tobytes()
        except WeightsError:
            refused += 1
        path.unlink()
    assert 0 < refused < count


def test_a_name_that_is_no_utf8_is_listed(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("data").create_dataset(b"caf\xe9", data=np.ones(2))
    assert hdf5.list_datasets(tmp_path / "w.h5") == {"data/café": (2,)}
