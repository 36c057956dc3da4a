"""LMDB files: read where they lie, with every page checked; written by the package `lmdb`.

liblmdb trusts its files: one wrong byte in a page ends the process that reads it (SIGBUS, or an
assertion). It also takes a lock in the user's folder, and each file only once in a process. So the
tree of pages is walked here, which needs no package.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CaffeCompatError, ParseError, WeightsError
from .cursor import COMMIT, Cursor
from .extras import extra
from .lmdb_pages import NO_PAGE, Page, Tree

if TYPE_CHECKING:
    import lmdb

_MAP = 1 << 26  # bytes of address space for a new file, doubled as often as it takes


class LMDBCursor(Cursor):
    """A place in an LMDB. Values are views of the file; no lock is taken.

    Args:
        path: the folder with data.mdb in it.

    Raises:
        ParseError: it cannot be read, is damaged or empty.
    """

    def __init__(self, path: Path):
        self._tree = tree = Tree(path / "data.mdb")
        if tree.meta.flags:
            raise tree.error(
                "its keys have several values or an order of their own, unlike Caffe's"
            )
        if tree.meta.root == NO_PAGE:
            raise ParseError(f"{path}: the database is empty")
        self._stack: list[tuple[Page, int]] = []
        self._passed = 0  # records, of those pages that were left since the first
        self._whole = True  # counted from the first record on
        self._descend(tree.page(tree.meta.root))

    def _descend(self, page: Page) -> None:
        """Go to the first record below a page."""
        while not page.leaf:
            self._push(page, 0)
            page = self._tree.child(page, 0)
        self._push(page, 0)

    def _push(self, page: Page, index: int) -> None:
        self._stack.append((page, index))
        if len(self._stack) > self._tree.meta.depth:
            raise self._tree.error(f"damaged: deeper than its {self._tree.meta.depth} pages")

    def key(self) -> bytes:
        """Return the record's key."""
        return self._tree.key(*self._stack[-1])

    def value(self) -> memoryview:
        """Return a view of the record's value."""
        return self._tree.value(*self._stack[-1])

    def advance(self) -> bool:
        """Go to the next record, or from the last to the first; return whether it was the last."""
        page, index = self._stack[-1]
        if index + 1 < len(page.nodes):
            self._stack[-1] = page, index + 1
            return False
        self._check()
        while self._stack:
            page, index = self._stack.pop()
            if index + 1 < len(page.nodes):
                self._push(page, index + 1)
                if not page.leaf:
                    self._descend(self._tree.child(page, index + 1))
                return False
        entries = self._tree.meta.entries
        if self._whole and self._passed != entries:
            raise self._tree.error(f"damaged: {self._passed} of its {entries} records")
        self._passed, self._whole = 0, True
        self._descend(self._tree.page(self._tree.meta.root))
        return True

    def _check(self) -> None:
        """Make sure that the file is as it was, and that its pages do not lead in circles."""
        self._passed += len(self._stack[-1][0].nodes)
        if self._passed > self._tree.meta.entries:
            raise self._tree.error(f"damaged: more than its {self._tree.meta.entries} records")
        try:
            self._tree.file.check()
        except WeightsError as error:
            raise ParseError(str(error)) from None

    def seek(self, key: bytes) -> None:
        """Go to the record of this key.

        Raises:
            ParseError: the database does not have it.
        """
        tree = self._tree
        self._stack, self._passed, self._whole = [], 0, False
        page = tree.page(tree.meta.root)
        while not page.leaf:
            # A branch's first key is empty: whatever is less than its second lies below it.
            index = _last_not_above(tree, page, key)
            self._push(page, index)
            page = tree.child(page, index)
        keys = [tree.key(page, i) for i in range(len(page.nodes))]
        index = bisect_left(keys, key)
        if index == len(keys) or keys[index] != key:
            raise tree.error(f"has no record of key {key!r}")
        self._push(page, index)

    def count(self) -> int:
        """Return how many records the file says it has."""
        return self._tree.meta.entries

    def close(self) -> None:
        """Let the file go, once no value is in use."""
        self._stack = []


def _last_not_above(tree: Tree, page: Page, key: bytes) -> int:
    keys = [b"", *(tree.key(page, i) for i in range(1, len(page.nodes)))]
    index = bisect_left(keys, key)
    return index if index < len(keys) and keys[index] == key else index - 1


class _Writer:
    """Puts records by the thousand; a full map is doubled, as Caffe's db_lmdb.cpp does."""

    def __init__(self, environment: lmdb.Environment):
        self._environment = environment
        self._waiting: list[tuple[bytes, bytes]] = []

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record, or replace the one of this key."""
        self._waiting.append((key, value))
        if len(self._waiting) == COMMIT:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        while not self._fits():
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        self._waiting = []

    def _fits(self) -> bool:
        import lmdb

        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in self._waiting:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            return False
        return True


@contextmanager
def write_lmdb(folder: Path) -> Iterator[_Writer]:
    """Write a database into an empty folder.

    Yields:
        The database, for its records.

    Raises:
        CaffeCompatError: the disk is full, or a key is longer than LMDB takes.
    """
    with extra("an LMDB"):
        import lmdb

    try:
        # The folder gets its name when all is written, so it is synced once, at the end.
        with lmdb.open(str(folder), map_size=_MAP, sync=False) as environment:
            writer = _Writer(environment)
            yield writer
            writer.commit()
            environment.sync(True)
    except lmdb.Error as error:
        reason = str(error).rpartition(": ")[2]  # before it the file's path
        raise CaffeCompatError(f"{folder}: cannot be written as an LMDB: {reason}") from None
