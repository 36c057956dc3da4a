"""The interface of an LMDB and a LevelDB: a place among records, and a way to add some."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

Backend = Literal["lmdb", "leveldb"]
Value = bytes | memoryview

COMMIT = 1000  # records that are written at once, as Caffe's tools do


class Cursor(ABC):
    """A place in a database, on one of its records."""

    @abstractmethod
    def key(self) -> bytes:
        """Return the record's key."""

    @abstractmethod
    def value(self) -> Value:
        """Return the record's value: bytes, or a view that holds until the cursor is closed."""

    @abstractmethod
    def advance(self) -> bool:
        """Go to the next record, or from the last to the first; return whether it was the last."""

    @abstractmethod
    def seek(self, key: bytes) -> None:
        """Go to the record of this key.

        Raises:
            ParseError: the database does not have it.
        """

    @abstractmethod
    def count(self) -> int:
        """Return how many records there are."""

    @abstractmethod
    def close(self) -> None:
        """Let the database go. No value may be used from then on."""


class Writer(Protocol):
    """A database that is being written."""

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record, or replace the one of this key."""
