"""Real caffemodels, damaged in all ways: the outcome is a result or a WeightsError."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from caffe_compat import weights
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import WeightsError

from ..wireformat import floats, group, integer, length, packed, shape, tag, varint
from .test_caffemodel import CAFFEMODELS, reference

SMALL = [path for path in CAFFEMODELS if path.stat().st_size < 500_000]
SPLICES = [
    tag(0, 2),
    b"\xff" * 11,
    tag(1, 4),
    tag(9, 3),
    tag(1, 6),
    varint(1 << 40),
    b"\0",
    b"",
    integer(1, 3),
    length(100, length(1, "x")),
    length(2, length(4, "y")),
    shape(1 << 40),
    packed(5, 1.0, 2.0),
    floats(5, 1.0, 2.0, 3.0),
    group(3, integer(1, 1)),
    length(7, b""),
    tag(100, 2) + varint(1 << 62),
    tag(7, 2) + varint(4000),
    integer(10, 2),
]


def structure(path: Path) -> np.ndarray:
    """The offsets of the bytes that are not data: a flip there changes more than a value."""
    is_data = np.zeros(path.stat().st_size + 1, bool)
    for layer in weights.read(path).layers:
        for blob in layer.blobs:
            where = weights.location(blob.array)
            if where:
                is_data[where[1] : where[1] + where[2]] = True
    return np.flatnonzero(~is_data)


def damage(data: bytes, places: np.ndarray, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.choice(places)) if rng.random() < 0.9 else int(rng.integers(len(data)))
        at = min(at, len(out) - 1)
        match rng.integers(6):
            case 0 | 1:
                out[at] ^= 1 << rng.integers(8)
            case 2:
                out[at] = rng.integers(256)
            case 3:
                out[at:at] = SPLICES[rng.integers(len(SPLICES))]
            case 4:
                end = min(at + int(rng.integers(1, 40)), len(out) - 1)
                del out[at:end]
            case _:
                del out[max(at, 1) :]
    return bytes(out)


def compare_with_protobuf(opened: weights.Weights, data: bytes) -> bool:
    """Compare with protobuf if both accept the file; return whether protobuf does."""
    try:
        message = NetParameter.FromString(data)
    except DecodeError:
        return False  # in a field that is passed over here, as a layer's parameters
    layers = message.layer or message.layers
    if opened.format == "V0":
        layers = [layer.layer for layer in layers]
    for layer, expected in zip(opened.layers, layers, strict=True):
        for blob, stored in zip(layer.blobs, expected.blobs, strict=True):
            np.testing.assert_array_equal(blob.array, reference(stored), strict=True)
    return True


def survive(tmp_path: Path, path: Path, count: int, seed: int) -> tuple[int, int]:
    rng = np.random.default_rng(seed)
    data, places = path.read_bytes(), structure(path)
    accepted = agreed = 0
    for i in range(count):
        damaged = damage(data, places, rng)
        file = tmp_path / str(i)
        file.write_bytes(damaged)
        try:
            opened = weights.read(file)
            targets = [
                (layer.name, [("blob", b.array.shape) for b in layer.blobs])
                for layer in opened.layers
            ]
            weights.match(opened, targets)
        except WeightsError as error:
            assert str(file) in str(error)
        else:
            accepted += 1
            agreed += compare_with_protobuf(opened, damaged)
        file.unlink()
    return accepted, agreed


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.parent.name)
def test_damaged_models(tmp_path, path):
    count = 300 // len(SMALL)
    accepted, agreed = survive(tmp_path, path, count, seed=1)
    assert 0 < agreed <= accepted < count


@pytest.mark.slow
@pytest.mark.parametrize("path", CAFFEMODELS, ids=lambda path: path.parent.name)
def test_many_damaged_models(tmp_path, path):
    count = -(-20_000 // len(CAFFEMODELS))
    accepted, agreed = survive(tmp_path, path, count, seed=2)
    assert 0 < agreed <= accepted < count


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.parent.name)
def test_cut_anywhere(tmp_path, path):
    """Cut between two layers it is a shorter net, which protobuf reads alike; else refused."""
    data, places = path.read_bytes(), structure(path)
    file = tmp_path / "cut"
    accepted = 0
    for at in np.random.default_rng(3).choice(places[1:-1], 60, replace=False):
        file.unlink(missing_ok=True)
        file.write_bytes(data[:at])
        try:
            opened = weights.read(file)
        except WeightsError:
            continue
        accepted += 1
        assert compare_with_protobuf(opened, data[:at])
    assert accepted < 60
