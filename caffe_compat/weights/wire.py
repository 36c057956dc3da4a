"""Scan protobuf's wire format in place: tags and lengths are read, contents are passed.

Safe on any bytes: every step moves forward, every length is checked against the enclosing one
before it is used, and nothing is allocated. Writers that send a message piece by piece, so that it
is never whole in memory, get their tags here, too.

Format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import WeightsError
from .mapped import Mapped

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
_WIDTH = {FIXED64: 8, FIXED32: 4}
_MAX_TAG = (1 << 32) - 1  # 29 bits of field number, 3 of wire type
_MAX_GROUPS = 16  # Caffe's messages have none and nest 6 deep at most, and so do its forks'
_MAX_FIELDS = 5_000_000  # outside runs of numbers; the largest nets have some thousands


class Field(NamedTuple):
    """One field of a message, or a run of equal fields with one fixed-width number each."""

    number: int
    wire_type: int
    value: int  # of a varint; of fixed-width numbers, the length of the run
    start: int  # of the contents: byte offsets in the file
    stop: int
    offset: int  # of the tag


class Scan:
    """A walk over one mapped protobuf file.

    Args:
        file: the mapped file.

    A `where` is formatted only for an error, so it may be an object that gets its layer's name
    later.
    """

    def __init__(self, file: Mapped):
        self.file = file
        self.size = len(file)
        self._bytes = file.view(0, self.size, "u1")
        self._fields_left = _MAX_FIELDS

    def error(self, offset: int, where: object, reason: str) -> WeightsError:
        """Return an error that names the file, the byte and the path within the message."""
        return WeightsError(f"{self.file.path}: byte {offset}: {where}: {reason}")

    def varint(self, offset: int, stop: int, where: object) -> tuple[int, int]:
        """Read one variable-length number.

        Args:
            offset: of its first byte.
            stop: the end of the enclosing message.
            where: the path within the message.

        Returns:
            The number, in 64 bits without sign, and the offset behind it.

        Raises:
            WeightsError: it is cut short, or longer than ten bytes.
        """
        value = shift = 0
        for at in range(offset, min(offset + 10, stop)):
            byte = self.file[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at + 1
            shift += 7
        if stop - offset < 10:
            raise self.error(offset, where, f"a number runs past the end at byte {stop}")
        raise self.error(offset, where, "a number of more than 10 bytes")

    def fields(self, start: int, stop: int, where: object) -> Iterator[Field]:
        """Walk over the fields of one message, except groups.

        Args:
            start: of the message's contents.
            stop: their end.
            where: the path within the message.

        Yields:
            The fields in order; runs of one-number fields as one.

        Raises:
            WeightsError: these bytes are no protobuf message.
        """
        groups: list[int] = []
        offset = start
        while offset < stop:
            if not self._fields_left:
                reason = f"more than {_MAX_FIELDS} fields: not a Caffe model"
                raise self.error(offset, where, reason)
            self._fields_left -= 1
            tag, begin = self.varint(offset, stop, where)
            number, wire_type = tag >> 3, tag & 7
            if not number or tag > _MAX_TAG:
                raise self.error(offset, where, f"field number {number}, which no protobuf has")
            if wire_type == START_GROUP:
                groups.append(number)
                if len(groups) > _MAX_GROUPS:
                    raise self.error(offset, where, f"nested more than {_MAX_GROUPS} deep")
                offset = begin
                continue
            if wire_type == END_GROUP:
                if not groups or groups.pop() != number:
                    reason = f"the end of a group {number} that did not begin"
                    raise self.error(offset, where, reason)
                offset = begin
                continue
            field = self._contents(number, wire_type, offset, begin, stop, where)
            offset = field.stop
            if not groups:
                yield field
        if groups:
            raise self.error(stop, where, f"group {groups[-1]} has no end")

    def _contents(
        self, number: int, wire_type: int, offset: int, begin: int, stop: int, where: object
    ) -> Field:
        if wire_type == VARINT:
            value, end = self.varint(begin, stop, where)
            return Field(number, wire_type, value, begin, end, offset)
        if wire_type == LENGTH:
            length, begin = self.varint(begin, stop, where)
            if length > stop - begin:
                raise self._past_end(offset, where, f"field {number} of {length} bytes", stop)
            return Field(number, wire_type, 0, begin, begin + length, offset)
        if wire_type not in _WIDTH:
            raise self.error(offset, where, f"wire type {wire_type}, which no protobuf has")
        width = _WIDTH[wire_type]
        if width > stop - begin:
            raise self._past_end(offset, where, f"field {number} of {width} bytes", stop)
        count = self._run(offset, begin + width, stop) if begin == offset + 1 else 1
        end = begin + width + (count - 1) * (1 + width)
        return Field(number, wire_type, count, begin, end, offset)

    def _past_end(self, offset: int, where: object, what: str, stop: int) -> WeightsError:
        whole = "the file: it is cut short, or not one" if stop == self.size else "its message"
        return self.error(offset, where, f"{what} runs past the end (byte {stop}) of {whole}")

    def _run(self, first: int, second: int, stop: int) -> int:
        """Count the equal records from `first` on, the next of which would begin at `second`.

        Unpacked numbers come by the million, so they are compared by numpy, in pieces that double:
        the cost is proportional to the run's own length.
        """
        width, tag = second - first, self.file[first]
        whole = (stop - first) // width
        count, piece = 1, 1
        while count < whole:
            piece = min(2 * piece, whole - count, 1 << 20)
            begin = first + count * width
            same = self._bytes[begin : begin + piece * width : width] == tag
            if not same.all():
                return count + int(np.argmin(same))
            count += piece
        return count


def varint(value: int) -> bytes:
    """Encode a number, at least 0, in protobuf's variable length."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def head(number: int, length: int) -> bytes:
    """Encode the tag and the length in front of the `length` bytes of field `number`."""
    return varint(number << 3 | LENGTH) + varint(length)
