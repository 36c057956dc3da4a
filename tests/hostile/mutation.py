"""Changes to a file's bytes as an accident or a stranger makes them."""

from __future__ import annotations

import random
import re
import struct

# Words that steer a reader: extremes of numbers, marks, and fields that many layers have.
WORDS = (
    *(b"%d" % n for n in (0, -1, 2, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**63, -(2**63), 10**20)),
    *(b"nan", b"inf", b"-inf", b"1e38", b"1e-46", b"true", b"0x7fffffff", b'""', b"'\\0'"),
    *(b"{", b"}", b"<", b">", b"[", b"]", b":", b",", b";", b"#", b"\n", b"\\", b"//", b'"', b"\0"),
    *(b"kernel_size: ", b"stride: ", b"pad: ", b"dim: ", b"axis: ", b"num_output: ", b"group: "),
    *(b"dilation: ", b"type: ", b"bottom: ", b"top: ", b"name: ", b"layer {", b"layers {"),
    *(b"include { phase: TRAIN }", b"loss_weight: ", b"propagate_down: ", b"shape { dim: "),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_WORD = re.compile(rb"\w+")


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return the data after one to four changes; `others` lend pieces of theirs."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(_CHANGES)(data, others, rng) or b"\n"
    return data


def _flip(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _replace(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.choice((1, 2, 4, 8))
    extreme = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)))
    piece = rng.choice((rng.randbytes(size), extreme[:size], extreme[::-1][:size]))
    return data[:at] + piece + data[at + size :]


def _cut(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    stop = len(data) if rng.random() < 0.1 else start + rng.choice((1, 4, 16, 256))
    return data[:start] + data[stop:]


def _repeat(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    stop = start + rng.choice((1, 8, 64, 512))
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 2, 30)) + data[stop:]


def _splice(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other, at = rng.choice(others), rng.randrange(len(data))
    start = rng.randrange(len(other))
    return data[:at] + other[start : start + rng.choice((4, 32, 256))] + data[at:]


def _insert_word(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + b" " + rng.choice(WORDS) + b" " + data[at:]


def _change_number(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    return _substitute(_NUMBER, data, rng.choice(WORDS[:20]), rng)


def _change_word(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    words = _WORD.findall(rng.choice(others)[:4096]) or [b"x"]
    return _substitute(_WORD, data, rng.choice(words), rng)


def _substitute(pattern: re.Pattern[bytes], data: bytes, word: bytes, rng: random.Random) -> bytes:
    match = pattern.search(data, rng.randrange(len(data))) or pattern.search(data)
    return data[: match.start()] + word + data[match.end() :] if match else data


_CHANGES = (
    _flip,
    _replace,
    _cut,
    _repeat,
    _splice,
    _insert_word,
    _change_number,
    _change_number,
    _change_word,
)
