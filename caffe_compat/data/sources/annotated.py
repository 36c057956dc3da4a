"""AnnotatedData: a database of images with boxes.

From: weiliu89/caffe, branch ssd, annotated_data_layer.cpp
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from ...caffe_pb2 import AnnotatedDatum, LayerParameter, ResizeParameter
from ...errors import ParseError, ShapeError, UnsupportedError
from ...types import AnyArray, Array, Shape
from ..datum import read
from ..images import decode, planes
from ..source import Access, Plan, State, mean_of
from ..ssd.boxes import Boxes, read_boxes
from ..ssd.recipe import Picture, Recipe
from ..ssd.transform import SSDTransform
from ..streams import CRand
from ..transform import naming
from .database import Entry, EntrySource, open_source


class Loaded(NamedTuple):
    """A record: its image with its boxes, its label, and which of the two it has."""

    picture: Picture
    label: int | None
    boxes: bool


class AnnotatedSource(EntrySource[Loaded]):
    """The records of an AnnotatedData layer's database, in the order of their keys.

    Args:
        layer: the layer, with its phase.
        access: how it is read.

    Raises:
        ParseError: the database is missing, empty or damaged.
        ShapeError: what Caffe's CHECKs refuse.
    """

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        resize = layer.transform_param.resize_param
        if resize.resize_mode == ResizeParameter.FIT_SMALL_SIZE and self.batch_size != 1:
            raise ShapeError(f"FIT_SMALL_SIZE wants batch_size 1, and has {self.batch_size}")
        # The words in their order: the database's thread, the transformer twice, the prefetcher.
        words = access.own
        self._transform = SSDTransform(
            layer,
            mean_of(layer, access.paths),
            words[2] if len(words) == 4 else None,
            words[-1],
            CRand(),  # its own: Caffe's thread reads ahead, so its turn among others is chance
        )
        self._cursor = open_source(layer, access)
        self._boxes = layer.annotated_data_param.HasField("anno_type")
        self._labelled = len(layer.top) > 1
        self._first = self.first()
        self._boxes = self._boxes or self._first.boxes

    def load(self, record: Entry) -> Loaded:
        """Read and decode an AnnotatedDatum."""
        name = self.name(record)
        try:
            datum = AnnotatedDatum.FromString(record.value)  # type: ignore[arg-type]  # bytes alone
        except DecodeError:
            raise ParseError(f"{name}: not an AnnotatedDatum") from None
        its = datum.datum
        found = read(its, name)
        pixels = found.pixels
        if pixels is None:
            pixels = planes(decode(found.encoded, name, self._transform.color))
        boxes = read_boxes(datum)
        picture = Picture(name, pixels, its.encoded, (its.height, its.width), boxes)
        return Loaded(picture, its.label if its.HasField("label") else None, datum.HasField("type"))

    def shapes(self) -> list[Shape]:
        """Return the tops' shapes, from the first record."""
        picture = self._first.picture
        images = (self.batch_size, *self._transform.shape(picture))
        labels: Shape = (self.batch_size,)
        if self._boxes:
            labels = (1, 1, max(len(picture.boxes.corners), 1), 8)
        return [images, labels][: len(self.layer.top)]

    def pass_over(self, count: int) -> None:
        """Go past records without reading them.

        Raises:
            UnsupportedError: numbers are drawn, and how many depends on the records.
        """
        if self._transform.draws:
            raise UnsupportedError("its random numbers depend on the records before: read it whole")
        self.steps(count)

    def batch(self, taken: Sequence[tuple[Entry, Loaded]]) -> Plan:
        """Make a batch of images and their boxes."""
        records = [loaded for _, loaded in taken]
        recipes: list[Recipe] = []
        for loaded in records:
            with naming(loaded.picture.name):
                self._check(loaded)
                recipes.append(self._transform.draw(loaded.picture))
        shape = self._transform.shape(records[0].picture)
        if self.layer.transform_param.resize_param.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
            shape = recipes[0].shape  # of the cut; the batch has one image
        batch = self._buffers.take((len(records), *shape))
        jobs = [
            functools.partial(self._fill, loaded.picture, recipe, batch[i])
            for i, (loaded, recipe) in enumerate(zip(records, recipes, strict=True))
        ]
        tops: list[AnyArray] = [batch]
        if self._labelled:
            labels = [loaded.label or 0 for loaded in records]
            boxed = self._boxes
            tops.append(
                _rows([recipe.boxes for recipe in recipes])
                if boxed
                else np.array(labels, np.float32)
            )
        return Plan(tops, jobs)

    def _check(self, loaded: Loaded) -> None:
        if not self._labelled:
            return
        if self._boxes and not loaded.boxes:
            raise ShapeError("has no type, as all records with boxes must")
        if not self._boxes and loaded.label is None:
            raise ShapeError("has no label")

    def _fill(self, picture: Picture, recipe: Recipe, out: Array) -> None:
        with naming(picture.name):
            self._transform.apply(picture, recipe, out)

    def state(self) -> State:
        """Return the place before the next batch."""
        place = {"key": self._cursor.key(), "offset": self.offset}
        return place | self._transform.state()

    def restore(self, state: State) -> None:
        """Go to a place that `state` returned."""
        self._cursor.seek(state["key"])
        self.offset = state["offset"]
        self._transform.restore(state)


def _rows(images: list[Boxes]) -> Array:
    """Return a batch's boxes: image, label, instance, xmin, ymin, xmax, ymax, difficult."""
    counts = [len(boxes.corners) for boxes in images]
    if not sum(counts):
        return np.full((1, 1, 1, 8), -1, np.float32)
    rows = np.empty((sum(counts), 8), np.float32)
    rows[:, 0] = np.repeat(np.arange(len(images)), counts)
    for column, values in (
        (1, [boxes.labels for boxes in images]),
        (2, [boxes.instances for boxes in images]),
        (slice(3, 7), [boxes.corners for boxes in images]),
        (7, [boxes.difficult for boxes in images]),
    ):
        rows[:, column] = np.concatenate(values)
    return rows.reshape(1, 1, -1, 8)
