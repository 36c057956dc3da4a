"""LMDB and LevelDB: in order and round, untouched by reading, whole or not there by writing."""

from __future__ import annotations

import sys

import pytest

from caffe_compat.data.database import backend_of, count, create, open_database, records
from caffe_compat.errors import CaffeCompatError, ParseError

BACKENDS = pytest.mark.parametrize("backend", ["lmdb", "leveldb"])


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write(path, pairs, backend):
    with create(path, backend) as writer:
        for key, value in pairs:
            writer.put(key, value)
    return path


@BACKENDS
@pytest.mark.parametrize("number", [1, 2, 1000, 2501])
def test_records_come_in_the_order_of_their_keys(tmp_path, backend, number):
    pairs = {b"%d" % (7919 * i % 100003): bytes([i % 251]) * (i % 3000) for i in range(number)}
    path = write(tmp_path / "db", pairs.items(), backend)
    assert [(key, bytes(value)) for key, value in records(path)] == sorted(pairs.items())
    assert count(path) == number
    assert backend_of(path) == backend


@BACKENDS
def test_a_cursor_goes_round_and_to_a_key(tmp_path, backend):
    path = write(tmp_path / "db", [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], backend)
    cursor = open_database(path, backend)
    assert (cursor.key(), bytes(cursor.value())) == (b"a", b"1")
    assert [cursor.advance() for _ in range(3)] == [False, False, True]
    assert cursor.key() == b"a"
    cursor.seek(b"c")
    assert bytes(cursor.value()) == b"3"
    for key in (b"", b"aa", b"d"):
        with pytest.raises(ParseError, match=f"db.*: has no record of key {key!r}"):
            cursor.seek(key)
    cursor.close()


@BACKENDS
def test_reading_changes_nothing_and_readers_do_not_meet(tmp_path, backend):
    path = write(tmp_path / "db", [(b"a", b"1"), (b"b", b"2")], backend)
    before = contents(path)
    first, second = open_database(path), open_database(path)
    first.advance()
    assert (first.key(), second.key()) == (b"b", b"a")
    first.close()
    assert bytes(second.value()) == b"1"
    second.close()
    assert contents(path) == before


@BACKENDS
def test_a_locked_database_is_read(tmp_path, backend):
    path = tmp_path / "db"
    write(path, [(b"a", b"1")], backend)
    if backend == "lmdb":
        import lmdb

        with lmdb.open(str(path)) as environment, environment.begin(write=True):
            assert [key for key, _ in records(path)] == [b"a"]
    else:
        import plyvel

        database = plyvel.DB(str(path))
        assert [key for key, _ in records(path)] == [b"a"]
        database.close()


@BACKENDS
def test_a_database_appears_whole_or_not_at_all(tmp_path, backend):
    with pytest.raises(ZeroDivisionError), create(tmp_path / "db", backend) as writer:
        writer.put(b"a", b"1")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "db", [(b"a", b"1")], backend)
    with (
        pytest.raises(CaffeCompatError, match="db: exists; a database is never overwritten"),
        create(tmp_path / "db", backend),
    ):
        pass
    with (
        pytest.raises(CaffeCompatError, match="nowhere/db: cannot be made: No such file"),
        create(tmp_path / "nowhere" / "db", backend),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
@BACKENDS
def test_a_full_disk_names_the_database(tmp_path, backend):
    import resource

    path, before = tmp_path / "db", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CaffeCompatError) as error:
            write(path, [(b"%d" % i, bytes(5000)) for i in range(50)], backend)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kind = {"lmdb": "an LMDB", "leveldb": "a LevelDB"}[backend]
    assert str(error.value) == f"{path}: cannot be written as {kind}: File too large"
    assert list(tmp_path.iterdir()) == []


@BACKENDS
def test_an_empty_database_is_an_error(tmp_path, backend):
    write(tmp_path / "db", [], backend)
    with pytest.raises(ParseError, match="db: the database is empty"):
        open_database(tmp_path / "db")


def test_what_is_no_database_says_so(tmp_path):
    with pytest.raises(ParseError, match="gone: no such file or folder"):
        open_database(tmp_path / "gone")
    with pytest.raises(ParseError, match=r"neither an LMDB nor a LevelDB: no data.mdb and no CURR"):
        open_database(tmp_path)
    write(tmp_path / "db", [(b"a", b"1")], "lmdb")
    with pytest.raises(ParseError, match="db: not a LevelDB but an LMDB"):
        open_database(tmp_path / "db", "leveldb")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with (
        pytest.raises(CaffeCompatError, match=r"an LMDB needs a package.*caffe_compat\[data\]"),
        create(tmp_path / "db", "lmdb"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
