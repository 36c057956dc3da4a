"""The tree of pages in an LMDB file, read where it lies, with every bound checked.

The format: lmdb.h and mdb.c of OpenLDAP's LMDB 0.9, data version 1, on a 64-bit little-endian
machine.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ParseError, WeightsError
from ..weights.mapped import Mapped

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<II8xQ 48s48s QQ")  # magic, version, map size, two trees, last page, txn
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, three page counts, entries, root
_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, lower, upper
_NODE = struct.Struct("<HHHH")  # size or child (low, high), flags or child, length of the key
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_KIND = _BRANCH | _LEAF | _OVERFLOW
_BIG = 1  # a node's data lies in overflow pages
NO_PAGE = 2**64 - 1
_MAX_DEPTH = 32


class Meta(NamedTuple):
    """The page of a file that describes it."""

    page_size: int
    flags: int
    depth: int
    entries: int
    root: int
    pages: int
    transaction: int


class Page(NamedTuple):
    """A page of keys: where it begins and where its nodes do, all within the page."""

    number: int
    start: int
    leaf: bool
    nodes: Sequence[int]


class Tree:
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

    def _newest(self) -> Meta:
        """Return the newer of the two states that a file keeps."""
        first = self._meta(0)
        second = self._meta(first.page_size)
        return max(first, second, key=lambda meta: meta.transaction)

    def _meta(self, start: int) -> Meta:
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
        return Meta(size, flags, depth, entries, root, last + 1, transaction)

    def page(self, number: int) -> Page:
        """Return a page of keys.

        Raises:
            ParseError: it is not in the file, or is none.
        """
        start = self._start(number, 1)
        own, _, flags, lower, upper = _PAGE.unpack_from(self.file, start)
        count = (lower - _PAGE.size) // 2
        kind = flags & _KIND
        inside = lower <= upper <= self._size
        if own != number or kind not in (_BRANCH, _LEAF) or count < 1 or not inside:
            raise self.error(f"damaged: page {number} is not a page of keys")
        nodes = struct.unpack_from(f"<{count}H", self.file, start + _PAGE.size)
        if min(nodes) < lower or max(nodes) + _NODE.size > self._size:
            raise self.error(f"damaged: page {number} has a record outside itself")
        return Page(number, start, kind == _LEAF, nodes)

    def key(self, page: Page, index: int) -> bytes:
        """Return the key of one of a page's nodes."""
        at = page.start + page.nodes[index]
        length = _NODE.unpack_from(self.file, at)[3]
        begin = at + _NODE.size
        self._check_inside(page, begin + length)
        return self.file[begin : begin + length]

    def child(self, page: Page, index: int) -> Page:
        """Return the page that a branch's node leads to."""
        low, high, top, _ = _NODE.unpack_from(self.file, page.start + page.nodes[index])
        return self.page(low | high << 16 | top << 32)

    def value(self, page: Page, index: int) -> memoryview:
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

    def _check_inside(self, page: Page, end: int) -> None:
        if end > page.start + self._size:
            raise self.error(f"damaged: page {page.number} has a record outside itself")
