"""LMDB files: what liblmdb wrote is read, and no damaged one brings the process down."""

from __future__ import annotations

import random
import struct

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe_compat.data.database import create, open_database, records
from caffe_compat.errors import ParseError

from .cases import DATA

SMALL = (DATA / "lmdb" / "data_00" / "db" / "data.mdb").read_bytes()


def walk(folder):
    return [(key, bytes(value)) for key, value in records(folder)]


@pytest.mark.parametrize("seed", range(8))
def test_what_liblmdb_wrote_is_what_it_reads(tmp_path, seed):
    """Long and short keys, values in the page and outside it, several transactions, deletions."""
    chance = random.Random(seed)
    pairs = {}
    sizes = (0, 1, 1500, 2030, 4070, 4080, 4081, 9000)
    with lmdb.open(str(tmp_path), map_size=1 << 28) as environment:
        for _ in range(chance.choice((1, 3))):
            with environment.begin(write=True) as transaction:
                for _ in range(chance.choice((1, 40, 700))):
                    key = chance.randbytes(chance.choice((4, 8, 300)))
                    pairs[key] = chance.randbytes(chance.choice(sizes))
                    transaction.put(key, pairs[key])
                for key in chance.sample(sorted(pairs), len(pairs) // 3):
                    transaction.delete(key)
                    del pairs[key]
    assert walk(tmp_path) == sorted(pairs.items())
    cursor = open_database(tmp_path)
    assert cursor.count() == len(pairs)
    for key in chance.sample(sorted(pairs), min(30, len(pairs))):
        cursor.seek(key)
        assert bytes(cursor.value()) == pairs[key]


@given(
    cut=st.integers(0, len(SMALL)),
    edits=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_file_is_an_error_or_other_bytes(tmp_path_factory, cut, edits):
    folder = tmp_path_factory.mktemp("db")
    data = bytearray(SMALL)
    for at, byte in edits:
        data[at] = byte
    (folder / "data.mdb").write_bytes(data[:cut] if cut < len(data) // 2 else data)
    try:
        walk(folder)
    except ParseError as error:
        assert str(folder) in str(error)


def damaged(tmp_path, at, value, form="<H"):
    data = bytearray(SMALL)
    struct.pack_into(form, data, at, value)
    (tmp_path / "data.mdb").write_bytes(data)
    return tmp_path


LEAF = 2 * 4096  # where the only page of records begins
NODE = LEAF + struct.unpack_from("<H", SMALL, LEAF + 16)[0]


@pytest.mark.parametrize(
    "at, value, form, says",
    [
        (16, 7, "<I", "not an LMDB file of a 64-bit machine"),
        (20, 2, "<I", "LMDB of data version 2; 1 is read"),
        (40, 3000, "<I", "damaged: pages of 3000 bytes"),
        (LEAF, 5, "<Q", "page 2 is not a page of keys"),
        (LEAF + 10, 4, "<H", "page 2 is not a page of keys"),
        (LEAF + 12, 4000, "<H", "page 2 is not a page of keys"),
        (LEAF + 16, 2, "<H", "page 2 has a record outside itself"),
        (LEAF + 16, 4095, "<H", "page 2 has a record outside itself"),
        (NODE, 60000, "<H", "page 2 has a record outside itself"),
        (NODE + 4, 1, "<H", "it has no 16 page.s. from|it has no|damaged: page"),
        (NODE + 4, 2, "<H", "not a plain record, as Caffe writes"),
        (NODE + 6, 60000, "<H", "page 2 has a record outside itself"),
    ],
)
def test_the_error_says_where(tmp_path, at, value, form, says):
    if at < 4096:  # in the older of the two states too
        data = bytearray(SMALL)
        struct.pack_into(form, data, at, value)
        struct.pack_into(form, data, at + 4096, value)
        (tmp_path / "data.mdb").write_bytes(data)
    else:
        damaged(tmp_path, at, value, form)
    with pytest.raises(ParseError, match=says):
        walk(tmp_path)


def test_a_file_that_is_cut_short(tmp_path):
    (tmp_path / "data.mdb").write_bytes(SMALL[:LEAF])
    with pytest.raises(ParseError, match=r"data.mdb: cut short: it ends before page 2"):
        walk(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(ParseError, match=r"data.mdb: the file is empty"):
        walk(tmp_path)


def test_a_page_that_leads_to_itself_ends(tmp_path):
    with create(tmp_path / "db", "lmdb") as writer:
        for i in range(400):
            writer.put(b"%08d" % i, bytes(20))
    file = tmp_path / "db" / "data.mdb"
    data = bytearray(file.read_bytes())
    for start in range(2 * 4096, len(data), 4096):
        flags, lower = struct.unpack_from("<HH", data, start + 10)
        if flags == 1:  # a branch: all its children become the first
            nodes = struct.unpack_from(f"<{(lower - 16) // 2}H", data, start + 16)
            for node in nodes[1:]:
                data[start + node : start + node + 6] = data[start + nodes[0] :][:6]
    file.write_bytes(data)
    with pytest.raises(ParseError, match="damaged: more than its 400 records"):
        list(records(tmp_path / "db"))


def test_several_values_of_a_key_are_not_caffes(tmp_path):
    with lmdb.open(str(tmp_path), max_dbs=1) as environment:
        environment.open_db(b"other", dupsort=True)
    with pytest.raises(ParseError, match="not a plain record, as Caffe writes"):
        walk(tmp_path)


def test_a_file_that_changes_is_noticed(tmp_path):
    with create(tmp_path / "db", "lmdb") as writer:
        writer.put(b"a", b"1")
    cursor = open_database(tmp_path / "db")
    with lmdb.open(str(tmp_path / "db")) as environment, environment.begin(write=True) as write:
        write.put(b"b", bytes(100000))
    with pytest.raises(ParseError, match=r"data.mdb was changed since it was opened"):
        cursor.advance()


def test_a_full_map_is_enlarged(tmp_path, monkeypatch):
    monkeypatch.setattr("caffe_compat.data.lmdb_database._MAP", 1 << 16)
    with create(tmp_path / "db", "lmdb") as writer:
        for i in range(1500):
            writer.put(b"%08d" % i, bytes(1000))
    assert len(walk(tmp_path / "db")) == 1500
