"""Protobuf's wire format written by hand, for bytes that protobuf itself would never write."""

from __future__ import annotations

import struct


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def integer(number: int, value: int) -> bytes:
    return tag(number, 0) + varint(value)


def length(number: int, payload: bytes | str) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return tag(number, 2) + varint(len(data)) + data


def group(number: int, payload: bytes) -> bytes:
    return tag(number, 3) + payload + tag(number, 4)


def floats(number: int, *values: float) -> bytes:
    return b"".join(tag(number, 5) + struct.pack("<f", v) for v in values)


def doubles(number: int, *values: float) -> bytes:
    return b"".join(tag(number, 1) + struct.pack("<d", v) for v in values)


def packed(number: int, *values: float, code: str = "f") -> bytes:
    return length(number, struct.pack(f"<{len(values)}{code}", *values))


def shape(*dims: int) -> bytes:
    return length(7, length(1, b"".join(map(varint, dims))))


def net(*blobs: bytes, name: str = "conv1") -> bytes:
    """A net of one V2 layer that has these BlobProtos."""
    return length(100, length(1, name) + b"".join(length(7, blob) for blob in blobs))
