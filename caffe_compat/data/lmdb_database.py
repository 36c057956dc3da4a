"""LMDB files: read where they lie, with every page checked; written by the package `lmdb`.

liblmdb trusts its files: one wrong byte in a page ends the process that reads it (SIGBUS, or an
assertion). It also takes a lock in the user's folder, and each file only once in a process. So the
tree of pages is walked here, which needs no package. Its format: lmdb.h and mdb.c of OpenLDAP's
LMDB 0.9, data version 1, on a 64-bit little-endian machine.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CaffeCompatError, ParseError, WeightsError
from ..weights.mapped import Mapped
from .cursor import COMMIT, Cursor
from .extras import extra

if TYPE_CHECKING:
    import lmdb

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<II8xQ 48s48s QQ")  # magic, version, map size, two trees, last page, txn
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, three page counts, entries, root
_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, lower, upper
_NODE = struct.Struct("<HHHH")  # size or child (low, high), flags or child, length of the key
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_KIND = _BRANCH | _LEAF | _OVERFLOW
_BIG = 1  # a node's data lies in overflow pages
_NO_PAGE = 2**64 - 1
_MAX_DEPTH = 32

_MAP = 1 << 26  # bytes of address space for a new file, doubled as often as it takes


class _Meta(NamedTuple):
    """What a file says about itself."""

    page_size: int
    flags: int
    depth: int
    entries: int
    root: int
    pages: int
    transaction: int


class _Page(NamedTuple):
    """A page of keys: where it begins and where its nodes do, all within the page."""

    number: int
    start: int
    leaf: bool
    nodes: Sequence[int]


class _Tree:
    """The tree of pages in a file.

    Args:
        path: of data.mdb.

    Raises:
        ParseError: it is no LMDB file, damaged or cut short.
    """

    def __init__(self, path: Path):
        try:
            self.file = Mapped.open(path)
        except WeightsError as error:
            raise ParseError(str(error)) from None
        self._path = path
        self._view = memoryview(self.file)
        self.meta = self._newest()
        self._size = self.meta.page_size

    def error(self, reason: str) -> ParseError:
        """Return the error that names the file."""
        return ParseError(f"{self._path}: {reason}")

    def _newest(self) -> _Meta:
        """Return the newer of the two states that a file keeps."""
        first = self._meta(0)
        second = self._meta(first.page_size)
        return max(first, second, key=lambda meta: meta.transaction)

    def _meta(self, start: int) -> _Meta:
        start += _PAGE.size
        if start + _META.size > len(self.file):
            raise self.error("not an LMDB file: it is too small")
        magic, version, _, free, main, last, transaction = _META.unpack_from(self.file, start)
        if magic != _MAGIC:
            raise self.error("not an LMDB file of a 64-bit machine")
        if version != _VERSION:
            raise self.error(f"LMDB of data version {version}; {_VERSION} is read")
        size = _TREE.unpack(free)[0]
        _, flags, depth, *_, entries, root = _TREE.unpack(main)
        if size & (size - 1) or not 256 <= size <= 65536 or depth > _MAX_DEPTH:
            raise self.error(f"damaged: pages of {size} bytes, {depth} deep")
        return _Meta(size, flags, depth, entries, root, last + 1, transaction)

    def page(self, number: int) -> _Page:
        """Return a page of keys.

        Raises:
            ParseError: it is not in the file, or is none.
        """
        start = self._start(number, 1)
        own, _, flags, lower, upper = _PAGE.unpack_from(self.file, start)
        count = (lower - _PAGE.size) // 2
        kind = flags & _KIND
        if own != number or kind not in (_BRANCH, _LEAF) or count < 1 or not lower <= upper:
            raise self.error(f"damaged: page {number} is not a page of keys")
        nodes = struct.unpack_from(f"<{count}H", self.file, start + _PAGE.size)
        if min(nodes) < lower or max(nodes) + _NODE.size > self._size:
            raise self.error(f"damaged: page {number} has a record outside itself")
        return _Page(number, start, kind == _LEAF, nodes)

    def key(self, page: _Page, index: int) -> bytes:
        """Return the key of one of a page's nodes."""
        at = page.start + page.nodes[index]
        length = _NODE.unpack_from(self.file, at)[3]
        begin = at + _NODE.size
        self._check_inside(page, begin + length)
        return self.file[begin : begin + length]

    def child(self, page: _Page, index: int) -> _Page:
        """Return the page that a branch's node leads to."""
        low, high, top, _ = _NODE.unpack_from(self.file, page.start + page.nodes[index])
        return self.page(low | high << 16 | top << 32)

    def value(self, page: _Page, index: int) -> memoryview:
        """Return a view of a leaf's record."""
        at = page.start + page.nodes[index]
        low, high, flags, length = _NODE.unpack_from(self.file, at)
        size, begin = low | high << 16, at + _NODE.size + length
        if flags & ~_BIG:
            raise self.error(f"key {self.key(page, index)!r}: not a plain record, as Caffe writes")
        if flags & _BIG:
            self._check_inside(page, begin + 8)
            (number,) = struct.unpack_from("<Q", self.file, begin)
            begin = self._start(number, -(-(size + _PAGE.size) // self._size))
            own, _, kind, *_ = _PAGE.unpack_from(self.file, begin)
            if own != number or kind & _KIND != _OVERFLOW:
                raise self.error(f"key {self.key(page, index)!r}: damaged: page {number}")
            begin += _PAGE.size
        else:
            self._check_inside(page, begin + size)
        return self._view[begin : begin + size]

    def _start(self, number: int, count: int) -> int:
        """Return where pages begin that the file has."""
        if not 2 <= number <= self.meta.pages - count:
            raise self.error(f"damaged: it has no {count} page(s) from {number} on")
        start = number * self._size
        if start + count * self._size > len(self.file):
            raise self.error(f"cut short: it ends before page {number + count - 1}")
        return start

    def _check_inside(self, page: _Page, end: int) -> None:
        if end > page.start + self._size:
            raise self.error(f"damaged: page {page.number} has a record outside itself")


class LMDBCursor(Cursor):
    """A place in an LMDB. Values are views of the file; no lock is taken.

    Args:
        path: the folder with data.mdb in it.

    Raises:
        ParseError: it cannot be read, is damaged or empty.
    """

    def __init__(self, path: Path):
        self._tree = tree = _Tree(path / "data.mdb")
        if tree.meta.flags:
            raise tree.error(
                "its keys have several values or an order of their own, unlike Caffe's"
            )
        if tree.meta.root == _NO_PAGE:
            raise ParseError(f"{path}: the database is empty")
        self._stack: list[tuple[_Page, int]] = []
        self._passed = 0  # records, of those pages that were left since the first
        self._whole = True  # counted from the first record on
        self._descend(tree.page(tree.meta.root))

    def _descend(self, page: _Page) -> None:
        """Go to the first record below a page."""
        while not page.leaf:
            self._push(page, 0)
            page = self._tree.child(page, 0)
        self._push(page, 0)

    def _push(self, page: _Page, index: int) -> None:
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


def _last_not_above(tree: _Tree, page: _Page, key: bytes) -> int:
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
        raise CaffeCompatError(f"cannot write an LMDB: {error}") from None
