"""LevelDB: a damaged one is an error that names the user's folder, and no scratch folder stays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import plyvel
import pytest

from caffe_compat.data.database import create, records
from caffe_compat.errors import ParseError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A database whose records lie in tables, and an empty place for scratch folders."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with create(tmp_path / "db", "leveldb") as writer:
        for i in range(300):
            writer.put(b"%08d" % i, bytes([i % 256]) * 1000)
    database = plyvel.DB(str(tmp_path / "db"))
    database.compact_range()
    database.close()
    yield tmp_path / "db"
    assert list(scratch.iterdir()) == []


def test_tables_are_read(folder):
    assert [bytes(value)[0] for _, value in records(folder)] == [i % 256 for i in range(300)]


def test_a_damaged_table(folder):
    (table,) = folder.glob("*.ldb")
    data = bytearray(table.read_bytes())
    data[100] ^= 255
    table.write_bytes(data)
    with pytest.raises(ParseError, match=f"{folder}: not a LevelDB that can be read: Corruption"):
        list(records(folder))


def test_a_missing_table(folder):
    (table,) = folder.glob("*.ldb")
    table.unlink()
    with pytest.raises(ParseError, match=f"missing files; e.g.: {table}"):
        list(records(folder))


def test_current_leads_nowhere_else(folder):
    Path(folder, "CURRENT").write_text("../../etc/passwd\n")
    with pytest.raises(ParseError, match="CURRENT: does not name a MANIFEST of this folder"):
        list(records(folder))
