"""Runs a session on images: batches, padding, and files that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ..errors import CaffeCompatError, ParseError, ShapeError
from ..net.preprocess import Preprocess
from ..runtime.outputs import is_detection
from ..runtime.session import Session
from ..types import AnyArray, Picture, Shape, Size
from . import reader

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """The net's outputs for one image.

    Attributes:
        name: the image's name, as the caller has it.
        error: why it could not be read; the rest is then empty.
        size: its height and width.
        window: the part of it that the net saw: top, left, height and width, relative to it.
        outputs: the net's outputs by name, without the batch axis; detections, [1, 1, N, 7] in
            Caffe, are the image's own rows of them, [N, 7].
        detections: the names of the outputs that are detections.
    """

    name: str
    error: str | None = None
    size: Size = (0, 0)
    window: tuple[float, float, float, float] = (0, 0, 1, 1)
    outputs: Mapping[str, AnyArray] = field(default_factory=dict)
    detections: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Ready:
    """A preprocessed image, and the part of the image that it is."""

    index: int
    size: Size
    window: tuple[float, float, float, float]
    array: AnyArray


class Predictor:
    """A session that takes images.

    Args:
        session: the net; one whose input is uint8 does its own preprocessing.
        preprocess: from an image to the net's input.
        feeds: arrays for the net's other inputs.

    Attributes:
        input: the name of the input that takes the images.
        batch: the number of images at a time; None for any number.
        baked: whether the net does its own preprocessing.

    Raises:
        ShapeError: the net has no input for an image, or both it and `preprocess` preprocess.
    """

    def __init__(
        self,
        session: Session,
        preprocess: Preprocess | None = None,
        feeds: Mapping[str, AnyArray] | None = None,
    ) -> None:
        self._session, self._feeds = session, dict(feeds or {})
        self.input = _image_input(session, self._feeds)
        self._dims = session.inputs[self.input]
        self.baked = session.dtypes[self.input] == np.uint8
        if self.baked and preprocess is not None:
            raise ShapeError(
                f"the net takes uint8 images ('{self.input}') and does its own "
                "preprocessing; leave preprocess out"
            )
        self._preprocess = _baked_sizes(session) if self.baked else preprocess or Preprocess()
        if not self.baked:
            self._preprocess.fits(self._dims)
        self.batch = self._dims[0]
        self._detections = frozenset(n for n, d in session.outputs.items() if is_detection(d))

    def __call__(self, batch: Sequence[tuple[str, bytes | None]]) -> list[Result]:
        """Run one batch.

        Args:
            batch: for each image its name and the bytes of its file; None: the file of that name
                is read.

        Returns:
            A result for each image, in order; an image that cannot be read has an `error`.

        Raises:
            CaffeCompatError: the net cannot take the preprocessed images.
        """
        results: list[Result] = [Result(name) for name, _ in batch]
        groups: dict[Shape, list[_Ready]] = {}
        for index, (name, data) in enumerate(batch):
            try:
                image = reader.read(name if data is None else data, name)
            except ParseError as error:
                results[index] = Result(name, error=str(error))
                continue
            ready = self._prepare(index, image)
            groups.setdefault(ready.array.shape, []).append(ready)  # one size runs at a time
        for group in groups.values():
            for part in chunks(group, self.batch or len(group)):
                for ready, outputs in zip(part, self._run(part), strict=True):
                    results[ready.index] = Result(
                        batch[ready.index][0],
                        None,
                        ready.size,
                        ready.window,
                        outputs,
                        self._detections,
                    )
        return results

    def feeds(self, names: Sequence[str]) -> Iterator[dict[str, AnyArray]]:
        """Yield the session's feeds for these image files, batch by batch.

        Raises:
            ParseError: an image cannot be read.
        """
        for part in chunks(names, self.batch or 1):
            yield self._stack([self._prepare(0, reader.read(name)) for name in part])

    def _prepare(self, index: int, image: Picture) -> _Ready:
        size: Size = (image.shape[0], image.shape[1])
        if self.baked:
            net: tuple[int | None, int | None] = (None, None)
        else:
            _, net = self._preprocess.fits(self._dims)
        before, after = self._preprocess.sizes(size, net)
        window = self._preprocess.window(before, after)
        array = image if self.baked else self._preprocess(image, self._dims)
        return _Ready(index, size, window, array)

    def _stack(self, part: Sequence[_Ready]) -> dict[str, AnyArray]:
        """Return the session's feeds; a batch that is not full ends in copies of its last image."""
        arrays = [ready.array for ready in part]
        arrays += arrays[-1:] * ((self.batch or len(arrays)) - len(arrays))
        return {**self._feeds, self.input: np.stack(arrays)}

    def _run(self, part: Sequence[_Ready]) -> Iterator[dict[str, AnyArray]]:
        feeds = self._stack(part)
        outputs = self._session.run(feeds)
        for i in range(len(part)):
            yield {
                name: _own_rows(array, i)
                if name in self._detections
                else _row(name, array, i, len(feeds[self.input]))
                for name, array in outputs.items()
            }


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Return the items in runs of `size`, the last one perhaps shorter."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def _own_rows(array: AnyArray, i: int) -> AnyArray:
    """Return an image's detections; Caffe reports none at all by a row of class -1."""
    rows = array[0, 0]
    return np.asarray(rows[(rows[:, 0] == i) & (rows[:, 1] >= 0)])


def _row(name: str, array: AnyArray, i: int, batch: int) -> AnyArray:
    if array.ndim and array.shape[0] == batch:
        return np.asarray(array[i])
    if batch == 1:
        return array
    raise ShapeError(
        f"'{name}' {array.shape} has no row for each of {batch} images; load with batch=1",
        remedies=("batch",),
    )


def _image_input(session: Session, fed: Collection[str]) -> str:
    for name, dims in session.inputs.items():
        if name in fed:
            continue
        axis = 3 if session.dtypes[name] == np.uint8 else 1
        if len(dims) == 4 and dims[axis] in (1, 3):
            return name
    inputs = ", ".join(f"{name} {dims}" for name, dims in session.inputs.items())
    raise ShapeError(f"the net has no input for an image of 1 or 3 channels; its inputs: {inputs}")


def _baked_sizes(session: Session) -> Preprocess:
    """Return the sizes of the preprocessing inside the model."""
    try:
        stored = json.loads(session.properties.get("caffe_compat.preprocess", "{}"))
        sizes = {key: tuple(map(int, stored[key])) for key in ("resize", "crop") if stored.get(key)}
        if any(len(size) != 2 for size in sizes.values()):
            raise ValueError(stored)  # noqa: TRY301  one error for any damage
    except (ValueError, TypeError, AttributeError) as error:
        raise CaffeCompatError(f"the model's caffe_compat.preprocess is damaged: {error}") from None
    return Preprocess(**sizes)  # type: ignore[arg-type]
