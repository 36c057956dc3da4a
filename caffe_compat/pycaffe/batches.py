"""A live net run on more data than its blobs take at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np

from ..types import AnyArray, Array


class Net(Protocol):
    """The part of `net.Net` that the functions here need."""

    @property
    def inputs(self) -> list[str]:
        """The names of its inputs."""

    @property
    def outputs(self) -> list[str]:
        """The names of its outputs."""

    def forward(self, blobs: Sequence[str], **kwargs: Any) -> dict[str, Array]:
        """Run it."""

    def backward(self, diffs: Sequence[str], **kwargs: Any) -> dict[str, Array]:
        """Run it backward."""

    def _batch(self, blobs: Mapping[str, AnyArray]) -> Iterator[dict[str, AnyArray]]:
        """Yield batches of its size."""


def split(blobs: Mapping[str, AnyArray], size: int) -> Iterator[dict[str, AnyArray]]:
    """Yield batches of a size; the last is padded with zeros."""
    if not blobs:
        return
    total = len(next(iter(blobs.values())))
    for start in range(0, total, size):
        batch = {name: array[start : start + size] for name, array in blobs.items()}
        missing = size - min(size, total - start)
        if missing:
            for name, array in batch.items():
                zeros = np.zeros((missing, *np.shape(array)[1:]))
                batch[name] = np.concatenate([array, zeros])
        yield batch


def forward_all(
    net: Net, blobs: Sequence[str], arrays: Mapping[str, AnyArray]
) -> dict[str, AnyArray]:
    """Run a net forward in batches.

    Args:
        net: the net.
        blobs: names of blobs to return beside the outputs.
        arrays: the data for every input, by name.

    Returns:
        The blobs' data by name, without the padding.
    """
    rows = _Rows({*net.outputs, *blobs})
    for batch in net._batch(arrays):
        rows.add(net.forward(blobs, **batch))
    return rows.first(_length(arrays))


def forward_backward_all(
    net: Net, blobs: Sequence[str], diffs: Sequence[str], arrays: Mapping[str, AnyArray]
) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
    """Run a net forward and backward in batches.

    Args:
        net: the net.
        blobs: names of blobs to return beside the outputs.
        diffs: names of blobs whose gradients to return beside the inputs'.
        arrays: by name the data for the inputs and the gradients at the outputs.

    Returns:
        The data and the gradients by name, without the padding.
    """
    data, gradients = _Rows({*net.outputs, *blobs}), _Rows({*net.inputs, *diffs})
    feeds = net._batch({name: arrays[name] for name in net.inputs if name in arrays})
    seeds = net._batch({name: arrays[name] for name in net.outputs if name in arrays})
    none: dict[str, Any] = {}
    for feed, seed in zip_longest(feeds, seeds, fillvalue=none):
        data.add(net.forward(blobs, **feed))
        gradients.add(net.backward(diffs, **seed))
    return data.first(_length(arrays)), gradients.first(_length(arrays))


class _Rows:
    """Rows of arrays, collected by name."""

    def __init__(self, names: set[str]) -> None:
        self._rows: dict[str, list[AnyArray]] = {name: [] for name in names}

    def add(self, arrays: Mapping[str, AnyArray]) -> None:
        """Add a copy of each array's rows."""
        for name, array in arrays.items():
            self._rows[name].extend(array.copy())

    def first(self, length: int) -> dict[str, AnyArray]:
        """Return the first rows of each as an array."""
        return {name: np.asarray(rows)[:length] for name, rows in self._rows.items()}


def _length(arrays: Mapping[str, AnyArray]) -> int:
    return len(next(iter(arrays.values())))
