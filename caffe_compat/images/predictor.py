"""Pictures in, a net's outputs for each of them out: batches, padding, what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import types
from ..errors import CaffeCompatError, ParseError, ShapeError
from ..net.preprocess import Preprocess
from ..runtime.outputs import is_detection
from ..runtime.session import Session
from ..types import Size
from . import pictures

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What the net says of one picture.

    Attributes:
        name: the picture's, as it was given.
        error: why it could not be read; the rest is then empty.
        size: its height and width.
        window: the part of it that the net saw, as (top, left, height, width) in shares of it.
        outputs: the net's outputs by name, without the batch axis; detections, [1, 1, N, 7] in
            Caffe, are the picture's own rows of them, [N, 7].
        detections: which of the outputs are detections.
    """

    name: str
    error: str | None = None
    size: Size = (0, 0)
    window: tuple[float, float, float, float] = (0, 0, 1, 1)
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    detections: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Ready:
    """A picture made ready: what the net is fed, and what of the picture it is."""

    at: int
    size: Size
    window: tuple[float, float, float, float]
    fed: NDArray[Any]


class Predictor:
    """Runs a session on pictures.

    Args:
        session: the net; one whose input is uint8 does its own preprocessing.
        preprocess: how a picture becomes the net's input.
        feeds: arrays for inputs other than the picture's.

    Attributes:
        input: the name of the input that takes the pictures.
        batch: how many it takes at a time; None for any number.

    Raises:
        ShapeError: the net has no input for a picture.
    """

    def __init__(
        self,
        session: Session,
        preprocess: Preprocess | None = None,
        feeds: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self._session, self._feeds = session, dict(feeds or {})
        self.input = _picture_input(session, self._feeds)
        self._dims = session.inputs[self.input]
        self.baked = session.dtypes[self.input] == np.uint8
        if self.baked and preprocess is not None:
            raise ShapeError(
                f"the net takes uint8 pictures ('{self.input}') and does its own "
                "preprocessing; leave the preprocessing options out"
            )
        self._preprocess = _baked_sizes(session) if self.baked else preprocess or Preprocess()
        if not self.baked:
            self._preprocess.fits(self._dims)
        self.batch = self._dims[0]
        self._detections = frozenset(n for n, d in session.outputs.items() if is_detection(d))

    def __call__(self, batch: Sequence[tuple[str, bytes | None]]) -> list[Result]:
        """Run one batch.

        Args:
            batch: for each picture its name and the bytes of its file; None: to be read from
                the file of that name.

        Returns:
            A result for each picture, in order; one that cannot be read has its `error`.

        Raises:
            CaffeCompatError: the net cannot take what the preprocessing makes.
        """
        results: list[Result] = [Result(name) for name, _ in batch]
        groups: dict[tuple[int, ...], list[_Ready]] = {}
        for at, (name, data) in enumerate(batch):
            try:
                picture = pictures.read(name if data is None else data, name)
            except ParseError as error:
                results[at] = Result(name, error=str(error))
                continue
            ready = self._ready(at, picture)
            groups.setdefault(ready.fed.shape, []).append(ready)  # one size runs at a time
        for group in groups.values():
            for part in chunks(group, self.batch or len(group)):
                for ready, outputs in zip(part, self._run(part), strict=True):
                    results[ready.at] = Result(
                        batch[ready.at][0],
                        None,
                        ready.size,
                        ready.window,
                        outputs,
                        self._detections,
                    )
        return results

    def feeds(self, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """What the session is fed for these picture files, batch by batch.

        Raises:
            ParseError: a picture cannot be read.
        """
        for part in chunks(names, self.batch or 1):
            yield self._fed([self._ready(0, pictures.read(name)) for name in part])

    def _ready(self, at: int, picture: types.Picture) -> _Ready:
        size: Size = (picture.shape[0], picture.shape[1])
        if self.baked:
            net: tuple[int | None, int | None] = (None, None)
        else:
            _, net = self._preprocess.fits(self._dims)
        before, after = self._preprocess.sizes(size, net)
        window = (
            (before[0] - after[0]) // 2 / before[0],
            (before[1] - after[1]) // 2 / before[1],
            after[0] / before[0],
            after[1] / before[1],
        )
        fed = picture if self.baked else self._preprocess(picture, self._dims)
        return _Ready(at, size, window, fed)

    def _fed(self, part: Sequence[_Ready]) -> dict[str, NDArray[Any]]:
        """The session's inputs; a batch that is not full ends in copies of its last picture."""
        fed = [ready.fed for ready in part]
        fed += fed[-1:] * ((self.batch or len(fed)) - len(fed))
        return {**self._feeds, self.input: np.stack(fed)}

    def _run(self, part: Sequence[_Ready]) -> Iterator[dict[str, NDArray[Any]]]:
        feeds = self._fed(part)
        made = self._session.run(feeds)
        for i in range(len(part)):
            yield {
                name: _detected(array, i)
                if name in self._detections
                else _row(name, array, i, len(feeds[self.input]))
                for name, array in made.items()
            }


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """The items in runs of `size`, the last one perhaps shorter."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def _detected(array: NDArray[Any], i: int) -> NDArray[Any]:
    """A picture's rows; where nothing is found in any, Caffe says so by a row of class -1."""
    rows = array[0, 0]
    return np.asarray(rows[(rows[:, 0] == i) & (rows[:, 1] >= 0)])


def _row(name: str, array: NDArray[Any], i: int, batch: int) -> NDArray[Any]:
    if array.ndim and array.shape[0] == batch:
        return np.asarray(array[i])
    if batch == 1:
        return array
    raise ShapeError(
        f"'{name}' {array.shape} has no row for each of {batch} pictures; run with --batch 1"
    )


def _picture_input(session: Session, fed: Collection[str]) -> str:
    for name, dims in session.inputs.items():
        if name in fed:
            continue
        axis = 3 if session.dtypes[name] == np.uint8 else 1
        if len(dims) == 4 and dims[axis] in (1, 3):
            return name
    have = ", ".join(f"{name} {dims}" for name, dims in session.inputs.items())
    raise ShapeError(f"the net has no input for a picture of 1 or 3 channels; its inputs: {have}")


def _baked_sizes(session: Session) -> Preprocess:
    """The sizes of the preprocessing that the model itself does."""
    try:
        held = json.loads(session.properties.get("caffe_compat.preprocess", "{}"))
        sizes = {key: tuple(map(int, held[key])) for key in ("resize", "crop") if held.get(key)}
        if any(len(size) != 2 for size in sizes.values()):
            raise ValueError(held)  # noqa: TRY301  one error for whatever is wrong with it
    except (ValueError, TypeError, AttributeError) as error:
        raise CaffeCompatError(f"the model's caffe_compat.preprocess is damaged: {error}") from None
    return Preprocess(**sizes)  # type: ignore[arg-type]
