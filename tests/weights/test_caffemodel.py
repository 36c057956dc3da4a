"""Caffemodels of every generation, read as protobuf reads them, without copying."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffe_compat import weights
from caffe_compat.caffe_pb2 import BlobProto, NetParameter
from caffe_compat.errors import WeightsError

from ..wireformat import (
    doubles,
    floats,
    group,
    integer,
    length,
    net,
    packed,
    shape,
    tag,
    varint,
)

TESTS = Path(__file__).parents[1]
MODELS = TESTS / "golden" / "models"
MTCNN = TESTS.parent / "examples" / "mtcnn" / "models"
CAFFEMODELS = sorted([*MODELS.glob("*/*.caffemodel"), *MTCNN.glob("*/*.caffemodel")])


def reference(blob: BlobProto) -> np.ndarray:
    """Return a BlobProto's values, by protobuf's own parser."""
    if blob.HasField("raw_data"):
        dtype = {BlobProto.DOUBLE: "<f8", BlobProto.FLOAT: "<f4", BlobProto.FLOAT16: "<f2"}
        data = np.frombuffer(blob.raw_data, dtype[blob.raw_data_type])
    else:
        data = np.array(blob.double_data or blob.data)
    legacy = any(blob.HasField(f) for f in ("num", "channels", "height", "width"))
    dims = (blob.num, blob.channels, blob.height, blob.width) if legacy else blob.shape.dim
    with np.errstate(over="ignore"):
        return data.astype("<f4").reshape(tuple(dims))


def only_blob(opened: weights.Weights) -> weights.BlobData:
    ((blob,),) = (layer.blobs for layer in opened.layers)
    return blob


@pytest.mark.parametrize("path", CAFFEMODELS, ids=lambda path: path.parent.name)
def test_real_models_read_as_protobuf_reads_them(path):
    opened = weights.read(path)
    expected = NetParameter.FromString(path.read_bytes())
    assert (opened.name, opened.format) == (expected.name, "V2")
    assert len(opened.layers) == len(expected.layer) > 5
    for layer, message in zip(opened.layers, expected.layer, strict=True):
        assert (layer.name, layer.type) == (message.name, message.type)
        assert len(layer.blobs) == len(message.blobs)
        for blob, stored in zip(layer.blobs, message.blobs, strict=True):
            np.testing.assert_array_equal(blob.array, reference(stored), strict=True)
            assert not blob.array.flags.writeable


ONE_TO_SIX = np.arange(1, 7, dtype="f4").reshape(2, 3)


@pytest.mark.parametrize(
    "data",
    [
        packed(5, 1, 2, 3, 4, 5, 6),
        packed(5, 1, 2) + packed(5) + packed(5, 3, 4, 5, 6),
        floats(5, 1, 2, 3, 4, 5, 6),
        floats(5, 1) + packed(5, 2, 3, 4) + floats(5, 5, 6),
        b"".join(floats(5, v) + floats(6, -v) for v in range(1, 7)),
        packed(8, 1, 2, 3, 4, 5, 6, code="d"),
        doubles(8, 1, 2, 3) + packed(8, 4, 5, 6, code="d"),
        packed(5, 9, 9) + packed(8, 1, 2, 3, 4, 5, 6, code="d"),  # Caffe prefers double_data
        packed(6, *[7.0] * 6) + packed(5, 1, 2, 3, 4, 5, 6) + packed(9, 7.0, code="d"),
        integer(5, 3) + doubles(5, 1.0) + packed(5, 1, 2, 3, 4, 5, 6),  # other wire types: unknown
        group(77, floats(5, 8.0)) + length(300, b"?") + packed(5, 1, 2, 3, 4, 5, 6),
        integer(10, 2) + packed(12, 1, 2, 3, 4, 5, 6, code="e"),
        integer(10, 1) + packed(12, 1, 2, 3, 4, 5, 6),
        integer(10, 0) + packed(12, 1, 2, 3, 4, 5, 6, code="d"),
        integer(10, 2) + packed(12, 1, 2, 3, 4, 5, 6, code="e") + packed(5, 9.0),
    ],
)
def test_data_in_every_form_that_caffe_and_its_forks_wrote(read, data):
    for blob in (shape(2, 3) + data, data + shape(2, 3), data + shape(2) + shape(3)):
        stored = only_blob(read(net(blob)))
        np.testing.assert_array_equal(stored.array, ONE_TO_SIX, strict=True)
        assert not stored.legacy
        assert not stored.array.flags.writeable


def test_a_scalar_has_no_shape_and_legacy_dims_are_four(read):
    assert only_blob(read(net(packed(5, 2.0)))).array.shape == ()
    dims = integer(1, 1) + integer(3, 2) + integer(2, 1) + integer(4, 3)
    blob = only_blob(read(net(dims + shape(6) + packed(5, 1, 2, 3, 4, 5, 6))))
    assert blob.legacy
    assert blob.array.shape == (1, 1, 2, 3)


def test_doubles_beyond_float32_are_infinite(read):
    blob = only_blob(read(net(shape(2) + packed(8, 1e300, -1e300, code="d"))))
    assert blob.array.tolist() == [np.inf, -np.inf]


def test_v1_and_v0_layers(read):
    blob = shape(1) + packed(5, 4.0)
    v1 = length(2, length(4, "c1") + integer(5, 4) + length(6, blob) + length(2, "data"))
    opened = read(length(1, "old") + v1 + length(2, integer(5, 999)))
    assert (opened.name, opened.format) == ("old", "V1")
    assert [(v.name, v.type) for v in opened.layers] == [("c1", "CONVOLUTION"), ("", "999")]
    assert opened.layers[0].blobs[0].array == 4

    in_parts = length(1, length(1, "c0") + length(2, "conv")) + length(1, length(50, blob))
    opened = read(length(2, length(2, "data") + in_parts) + v1)
    assert opened.format == "V0"
    layers = [(layer.name, layer.type, len(layer.blobs)) for layer in opened.layers]
    assert layers == [("c0", "conv", 1), ("", "", 0)]


def test_a_mean_image(tmp_path):
    path = tmp_path / "mean.binaryproto"
    legacy = b"".join(integer(n, d) for n, d in ((1, 1), (2, 3), (3, 1), (4, 2)))
    path.write_bytes(legacy + packed(5, 1, 2, 3, 4, 5, 6))
    np.testing.assert_array_equal(
        weights.read_mean(path), np.arange(1, 7, dtype="f4").reshape(1, 3, 1, 2), strict=True
    )
    with pytest.raises(WeightsError, match="not a caffemodel: no layer is in it"):
        weights.read(path)
    with pytest.raises(WeightsError, match=r"mean: 0 values do not fill"):
        path.write_bytes(legacy)
        weights.read_mean(path)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (shape(2, 3) + packed(5, 1, 2), r"2 values do not fill the shape 2 3 \(6\)"),
        (packed(5, 1, 2), r"2 values do not fill the shape of a scalar \(1\)"),
        (shape(1 << 40), r"the shape 1099511627776: blob size exceeds INT_MAX"),
        (shape(1 << 31, 1 << 31, 4), "exceeds INT_MAX"),
        (shape(0, 1 << 62), "exceeds INT_MAX"),
        (shape(1 << 20, 1 << 10), r"0 values do not fill the shape 1048576 1024"),
        (shape(-2, -3) + packed(5, *range(6)), "negative dimension in the shape -2 -3"),
        (integer(1, -1) + packed(5, 1), "negative dimension in the shape -1 0 0 0"),
        (integer(1, 2) + packed(5, 1, 2), "do not fill the shape 2 0 0 0"),
        (shape(*[1] * 33) + packed(5, 1), "a shape of more than 32 dimensions"),
        (length(5, b"abcdef") + shape(1), "6 bytes are no whole number of 4-byte values"),
        (length(8, b"abcdef") + shape(1), "6 bytes are no whole number of 8-byte values"),
        (tag(5, 2) + varint(1 << 40), "field 5 of 1099511627776 bytes runs past the end"),
        (length(7, length(1, b"\xff" * 11)), "a number of more than 10 bytes"),
        (length(7, length(1, b"\xff")), "a number runs past the end"),
        (length(12, b"1234") + shape(1), "raw_data of type None"),
        (integer(10, 3) + length(12, b"1234") + shape(1), "raw_data of type 3"),
        (integer(10, 2) + length(12, b"123") + shape(1), "3 bytes are no whole number of 2-byte"),
        (tag(0, 0), "field number 0"),
    ],
)
def test_a_damaged_blob_is_named_with_its_byte_and_path(read, blob, reason):
    good = shape(1) + packed(5, 1)
    first = net(good, name="data")
    with pytest.raises(WeightsError, match=rf"byte \d+: layer\[1\] 'conv1' blobs\[1\]: .*{reason}"):
        read(first + net(good, blob))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a caffemodel but a PNG image"),
        (b"<!DOCTYPE html>\n<html>404</html>", "not a caffemodel but an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b'name: "LeNet"\nlayer { name: "data" }\n', "not a caffemodel but text"),
        (length(1, "only a name"), "not a caffemodel: no layer is in it"),
        (length(100, b""), "not a caffemodel: no layer is in it"),
        (length(100, length(1, "a")) + length(2, length(4, "b")), "both 'layer' and 'layers'"),
        (length(100, length(1, "x" * 70000)), r"layer\[0\]: a name of 70000 bytes"),
        (net(b"")[:-1], "cut short"),
        (bytes(100), "field number 0"),
    ],
)
def test_what_is_no_caffemodel_is_refused_and_said(read, data, reason):
    with pytest.raises(WeightsError, match=reason):
        read(data)


def test_beyond_two_gib_only_the_headers_are_read(tmp_path):
    """A sparse file: 3 GiB of diff, which is skipped, and then a blob of numbers."""
    path = tmp_path / "big.caffemodel"
    skipped = 3 << 30
    inner = tag(6, 2) + varint(skipped)
    rest = shape(3) + packed(5, 1, 2, 3)
    size = len(inner) + skipped + len(rest)
    head = length(1, "big") + tag(7, 2) + varint(size)
    with path.open("wb") as file:
        file.write(tag(100, 2) + varint(len(head) + size) + head + inner)
        file.seek(skipped, os.SEEK_CUR)
        file.write(rest)
    blob = only_blob(weights.read(path))
    assert blob.array.tolist() == [1, 2, 3]
    assert weights.location(blob.array)[1] > skipped


numbers = st.floats(width=32, allow_nan=False)
unknown = st.one_of(
    st.builds(integer, st.integers(14, 5000), st.integers(0, 2**64 - 1)),
    st.builds(length, st.integers(14, 5000), st.binary(max_size=9)),
    st.builds(floats, st.integers(14, 5000), numbers),
    st.builds(lambda n, b: group(n, length(3, b)), st.integers(14, 5000), st.binary(max_size=9)),
    st.builds(lambda v: packed(6, *v), st.lists(numbers, max_size=3)),
    st.builds(lambda v: floats(6, *v), st.lists(numbers, max_size=3)),
)


@st.composite
def blobs(draw):
    dims = draw(st.lists(st.integers(0, 4), max_size=4))
    values = draw(st.lists(numbers, min_size=int(np.prod(dims)), max_size=int(np.prod(dims))))
    number, one, code = draw(st.sampled_from([(5, floats, "f"), (8, doubles, "d")]))
    parts = []
    while values:
        n = draw(st.integers(1, len(values)))
        piece, values = values[:n], values[n:]
        one_by_one = draw(st.booleans())
        parts.append(one(number, *piece) if one_by_one else packed(number, *piece, code=code))
        parts += draw(st.lists(unknown, max_size=2))
    if len(dims) == 4 and draw(st.booleans()):
        where = [integer(n + 1, d) for n, d in enumerate(dims)]
    else:
        where = [shape(*dims)] if dims else []
    at = draw(st.integers(0, len(parts)))
    return b"".join([*parts[:at], *where, *parts[at:]])


layer_lists = st.lists(
    st.tuples(st.text(max_size=5), st.lists(blobs(), max_size=3)), min_size=1, max_size=3
)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(layer_lists, st.sampled_from([(100, 1, 7), (2, 4, 6), (2, 1, 50)]))
def test_any_net_reads_as_protobuf_reads_it(read, layers, numbering):
    layer_number, name_number, blobs_number = numbering
    data = b"\x0a\x01\x01"
    for name, stored in layers:
        inner = length(name_number, "n" + name) + b"".join(length(blobs_number, b) for b in stored)
        data += length(layer_number, length(1, inner) if blobs_number == 50 else inner)
    message = NetParameter.FromString(data)
    expected = message.layer or message.layers
    expected = [e.layer for e in expected] if blobs_number == 50 else expected
    opened = read(data)
    assert [v.name for v in opened.layers] == [e.name for e in expected]
    for layer, e in zip(opened.layers, expected, strict=True):
        assert len(layer.blobs) == len(e.blobs)
        for blob, stored in zip(layer.blobs, e.blobs, strict=True):
            np.testing.assert_array_equal(blob.array, reference(stored), strict=True)


def test_long_unpacked_runs_take_no_time_per_number(tmp_path):
    count = 1_000_000
    record = np.zeros(count, np.dtype([("tag", "u1"), ("value", "<f4")]))
    record["tag"], record["value"] = tag(5, 5)[0], np.arange(count)
    path = tmp_path / "unpacked.caffemodel"
    path.write_bytes(net(record.tobytes() + shape(count)))
    array = only_blob(weights.read(path)).array
    assert array[-1] == count - 1
    assert array.nbytes == 4 * count
    assert struct.unpack("<f", array[12345].tobytes()) == (12345.0,)
