"""ImageData: image files of a list (image_data_layer.cpp)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ParseError, ShapeError
from ...files import read_bytes
from ...types import AnyArray, Shape, Size
from ..buffers import Buffers
from ..images import planes, read_file
from ..source import Access, Plan, RecordSource, State, check_batch_size, mean_of
from ..streams import Engine
from ..transform import Transform, fill

_MOST_LIST = 1 << 32  # bytes of a list; ImageNet's has 40 million
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)")

log = logging.getLogger("caffe_compat")


class Line(NamedTuple):
    """A line of a list: which it is (from 1), a path, a label."""

    number: int
    path: str
    label: int


def read_list(path: Path) -> list[Line]:
    """Read a list of paths with labels, as Caffe splits its lines: at the last space.

    A label is the number that it begins with, or 0, as C's atoi reads it. A warning names the
    first label that is not a whole number; a line may have no label.

    Raises:
        ParseError: the file is missing or empty; a label has more than 32 bits.
    """
    data = read_bytes(path, _MOST_LIST)
    if b"\0" in data:
        raise ParseError(f"{path}: a binary file; a list has a path and a label in each line")
    texts = data.split(b"\n")
    if not texts[-1]:
        texts.pop()
    if not texts:
        raise ParseError(f"{path}: the file is empty")
    lines = [_line(path, number, text) for number, text in enumerate(texts, 1)]
    odd = [line for line, text in zip(lines, texts, strict=True) if not _is_plain(text)]
    if odd:
        word = texts[odd[0].number - 1].rpartition(b" ")[2].decode(errors="replace")
        more = f" ({len(odd) - 1} more such lines)" if len(odd) > 1 else ""
        log.warning(
            "%s: line %d: the label %r is not a whole number and is read as %d, as by Caffe%s",
            *(path, odd[0].number, word[:40], odd[0].label, more),
        )
    return lines


def _line(path: Path, number: int, text: bytes) -> Line:
    name, _, last = text.rpartition(b" ")
    digits = _NUMBER.match(last)
    label = int(digits[1][:20]) if digits else 0
    if not -(2**31) <= label < 2**31:
        raise ParseError(f"{path}: line {number}: label {label} has more than 32 bits")
    return Line(number, os.fsdecode(name if b" " in text else text), label)


def _is_plain(text: bytes) -> bool:
    """Return whether a line's label is a whole number, or it has none."""
    last = text.rpartition(b" ")[2]
    if last.isdigit() or b" " not in text:
        return True
    return not last.strip() or _NUMBER.fullmatch(last.rstrip()) is not None


class ImageListSource(RecordSource[Line, AnyArray]):
    """The images of an ImageData layer's list.

    With several ranks each takes every n-th image of one common order.

    Args:
        layer: the layer, with its phase.
        access: how it is read.

    Raises:
        ParseError: the list is missing or empty.
        ShapeError: what Caffe's CHECKs refuse.
        UnsupportedError: the layer has fields that only a fork reads.
    """

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        p = self._p = layer.image_data_param
        self.batch_size = check_batch_size(p.batch_size)
        if bool(p.new_height) != bool(p.new_width):
            raise ShapeError(f"new_height {p.new_height}, new_width {p.new_width}: both or neither")
        self._size: Size | None = (p.new_height, p.new_width) if p.new_height else None
        self._source = access.paths.find(p.source, "source")
        self._lines = read_list(self._source)
        # The words in their order: transformer, shuffle, rand_skip, transformer again, thread.
        words, draws = list(access.words), bool(p.shuffle) + bool(p.rand_skip)
        random = len(words) == 3 + draws
        own = words[int(random) :]
        self._order = np.arange(len(self._lines))
        self._engine: Engine | None = None
        if p.shuffle:
            self._engine = Engine(own.pop(0))
            self._order = self._engine.shuffle(self._order)
        self._at = own.pop(0) % p.rand_skip if p.rand_skip else 0
        if self._at >= len(self._lines):
            raise ShapeError(f"rand_skip passes over {self._at} of {len(self._lines)} images")
        mean = mean_of(layer, access.paths)
        self._transform = Transform(layer, mean, access.own[-2] if random else None)
        self._transform.check_fields()
        self._buffers = Buffers()

    def current(self) -> Line:
        """Return the line at this place of the order."""
        line: Line = self._lines[self._order[self._at]]
        return line

    def advance(self) -> None:
        """Go to the next line, behind the last to the first of a new order."""
        self._at += 1
        if self._at == len(self._lines):
            self._at = 0
            if self._engine is not None:
                self._order = self._engine.shuffle(self._order)

    def name(self, record: Line) -> str:
        """Return the list and the line."""
        return f"{self._source}: line {record.number}"

    def load(self, record: Line) -> AnyArray:
        """Read, decode and resize an image."""
        path = self.access.paths.join(self._p.root_folder + record.path)
        return planes(read_file(path, self.name(record), self._p.is_color, self._size))

    def shapes(self) -> list[Shape]:
        """Return the tops' shapes, from the first image."""
        shape = self._transform.shape(*self.first().shape)
        return [(self.batch_size, *shape), (self.batch_size,)]

    def __len__(self) -> int:
        """Return how many images the list has."""
        return len(self._lines)

    def pass_over(self, count: int) -> None:
        """Go past images and their random numbers without reading them."""
        self.steps(count)
        self._transform.draw(count)

    def batch(self, taken: Sequence[tuple[Line, AnyArray]]) -> Plan:
        """Make a batch of images."""
        images = [(self.name(line), pixels) for line, pixels in taken]
        return fill(self._transform, images, [line.label for line, _ in taken], self._buffers, 2)

    def state(self) -> State:
        """Return the place before the next batch."""
        place: State = {"at": self._at, "offset": self.offset, "order": self._order}
        if self._engine is not None:
            place["shuffle"] = self._engine.position()
        return place | self._transform.state()

    def restore(self, state: State) -> None:
        """Go to a place that `state` returned."""
        if len(state["order"]) != len(self._lines):
            raise ParseError(
                f"{self._source}: has {len(self._lines)} lines, and had {len(state['order'])}"
            )
        self._at, self.offset, self._order = state["at"], state["offset"], state["order"]
        if self._engine is not None:
            self._engine.seek(state["shuffle"])
        self._transform.restore(state)
