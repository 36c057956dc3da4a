from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffe_compat.errors import WeightsError
from caffe_compat.weights.mapped import Mapped
from caffe_compat.weights.wire import FIXED32, FIXED64, LENGTH, VARINT, Field, Scan

from ..wireformat import doubles, floats, group, integer, length, tag, varint


@pytest.fixture
def fields(tmp_path):
    def scan(data: bytes) -> list[Field]:
        path = tmp_path / "file"
        path.write_bytes(data)
        file = Mapped.open(path)
        return list(Scan(file).fields(0, len(file), "net"))

    return scan


def test_every_wire_type_has_its_contents_and_offsets(fields):
    data = integer(1, 300) + length(2, b"abc") + floats(3, 1.0) + doubles(4, 2.0)
    assert fields(data) == [
        Field(1, VARINT, 300, 1, 3, 0),
        Field(2, LENGTH, 0, 5, 8, 3),
        Field(3, FIXED32, 1, 9, 13, 8),
        Field(4, FIXED64, 1, 14, 22, 13),
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 255, 256, 5000])
@pytest.mark.parametrize(
    ("encode", "wire_type", "width"), [(floats, FIXED32, 5), (doubles, FIXED64, 9)]
)
def test_a_run_of_equal_fields_is_one(fields, count, encode, wire_type, width):
    data = integer(1, 5) + encode(5, *[0.5] * count) + integer(2, 6)
    first, run, last = fields(data)
    assert (run.number, run.wire_type, run.value) == (5, wire_type, count)
    assert (run.start, run.stop) == (3, 2 + width * count)
    assert (first.value, last.value) == (5, 6)


def test_a_run_ends_where_a_number_merely_looks_like_the_tag(fields):
    # The value's own bytes are all the tag; only every fifth byte counts.
    look_alike = tag(5, 5) * 5
    runs = fields(look_alike * 3 + floats(6, 0.0))
    assert [(f.number, f.value) for f in runs] == [(5, 3), (6, 1)]


def test_field_numbers_of_two_bytes_do_not_run(fields):
    assert [f.value for f in fields(floats(16, 1.0, 2.0))] == [1, 1]


def test_groups_are_passed_over(fields):
    data = integer(1, 1) + group(9, integer(2, 2) + group(8, floats(3, 1.0))) + integer(4, 4)
    assert [f.number for f in fields(data)] == [1, 4]


def test_varints_keep_64_bits(fields):
    assert fields(integer(1, -1))[0].value == 2**64 - 1
    assert fields(integer(1, 2**63))[0].value == 2**63


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (integer(1, 1) + tag(0, 0) + b"\1", 2, "field number 0"),
        (b"\x08" + b"\xff" * 10 + b"\1", 1, "more than 10 bytes"),
        (b"\x08" + b"\x80" * 5, 1, "runs past the end at byte 6"),
        (b"\xff", 0, "runs past the end"),
        (tag(1, 2) + varint(5) + b"four", 0, "field 1 of 5 bytes runs past the end .* cut short"),
        (tag(1, 2) + varint(2**63), 0, "runs past the end"),
        (tag(1, 5) + b"abc", 0, "field 1 of 4 bytes runs past"),
        (tag(1, 1) + b"abcdefg", 0, "field 1 of 8 bytes runs past"),
        (tag(1, 6), 0, "wire type 6"),
        (tag(1, 7), 0, "wire type 7"),
        (tag(1, 4), 0, "the end of a group 1 that did not begin"),
        (tag(1, 3) + tag(2, 4), 1, "the end of a group 2"),
        (tag(1, 3), 1, "group 1 has no end"),
        (tag(1, 3) * 17 + tag(1, 4) * 17, 16, "nested more than 16 deep"),
        (varint(1 << 32), 0, "field number 536870912"),
    ],
)
def test_damage_is_named_with_its_byte(fields, data, offset, reason):
    with pytest.raises(WeightsError, match=rf"file: byte {offset}: net: .*{reason}"):
        fields(data)


def test_a_length_is_held_against_what_encloses_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(length(1, tag(2, 2) + varint(3) + b"ab") + b"\x08\1" * 8)
    scan = Scan(Mapped.open(path))
    (outer, *_) = scan.fields(0, scan.size, "net")
    with pytest.raises(WeightsError, match=r"byte 2: here: .* past the end \(byte 6\) of its mess"):
        list(scan.fields(outer.start, outer.stop, "here"))


def test_a_file_of_nothing_but_fields_ends_soon(tmp_path, monkeypatch):
    monkeypatch.setattr("caffe_compat.weights.wire._MAX_FIELDS", 1000)
    path = tmp_path / "file"
    path.write_bytes(integer(1, 1) * 1001)
    with pytest.raises(WeightsError, match=r"byte 2000: net: more than 1000 fields"):
        list(Scan(Mapped.open(path)).fields(0, 2002, "net"))


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_give_fields_in_order_or_a_weights_error(tmp_path: Path, data: bytes):
    path = tmp_path / "file"
    path.write_bytes(data)
    scan = Scan(Mapped.open(path))
    end = 0
    try:
        for field in scan.fields(0, scan.size, "net"):
            assert end <= field.offset < field.start <= field.stop <= len(data)
            end = field.stop
    except WeightsError as error:
        assert "byte" in str(error)
