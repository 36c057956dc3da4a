"""Runs a net at any shape: rebuilt as its inputs' shapes change, a session per set of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..net.build import build
from ..net.graph import Value
from ..net.net import Net
from ..types import Array
from .models import lower_values
from .session import Session

_SESSIONS = 8  # open at once, each for other outputs


class Reshaping:
    """A net whose inputs may have another shape at every run.

    The first change rebuilds it for the new shape. At the second the axes that differ are opened
    if the net allows it, so that not every size costs a new session.

    Args:
        net: the net with its weights.

    Attributes:
        net: the net in its current shape.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self._device = "cpu"
        self._ran: dict[str, tuple[int, ...]] = {}  # the inputs' shapes at the last run
        self._sessions: dict[tuple[str, ...], Session] = {}

    def place(self, device: str) -> None:
        """Run on a device, named as for Session, from now on."""
        if device != self._device:
            self._device = device
            self._sessions.clear()

    def fit(self, feeds: Mapping[str, Array]) -> None:
        """Rebuild the net if it does not have the shapes of these arrays.

        Raises:
            ShapeError: an input is missing, or the net or its weights cannot have that shape.
        """
        inputs = self.net.graph.inputs
        shapes = {blob: array.shape for blob, array in feeds.items()}
        missing = [value.blob for value in inputs if value.blob not in shapes]
        if missing:
            raise ShapeError(f"input '{missing[0]}' is not set")
        if not all(_fits(value.dims, shapes[value.blob]) for value in inputs):
            opened = {blob: _opened(self._ran.get(blob), shape) for blob, shape in shapes.items()}
            try:
                self.rebuild(opened)
            except (ShapeError, UnsupportedError):
                self.rebuild(shapes)
        self._ran = shapes

    def rebuild(self, inputs: Mapping[str, Sequence[int | None]]) -> None:
        """Build the net for inputs of these shapes, with its own weights."""
        nodes, params = self.net.graph.nodes, self.net.arrays
        stored = {
            node.layer.name: [array.shape for array in arrays]
            for node, arrays in zip(nodes, params, strict=True)
        }
        fork = next((node.layer.fork for node in nodes if node.layer.fork), None)
        built = build(self.net.graph.net, inputs, fork, stored)
        for node, arrays in zip(built.nodes, params, strict=True):
            for blob, array in zip(node.blobs, arrays, strict=True):
                if blob.shape != array.shape:
                    with node.layer.named():
                        raise ShapeError(
                            f"{blob.name} would be {blob.shape} for this input, and "
                            f"is {array.shape}"
                        )
        self.net = replace(self.net, graph=built)
        self._sessions.clear()

    def change(self, index: int, arrays: Sequence[Array]) -> None:
        """Replace a node's parameters; the ones left out become zeros.

        Raises:
            ShapeError: there are too many, or one is of another size.
        """
        node = self.net.graph.nodes[index]
        with node.layer.named():
            if len(arrays) > len(node.blobs):
                raise ShapeError(f"has {len(node.blobs)} blobs, and got {len(arrays)}")
            blobs = [np.zeros(blob.shape, np.float32) for blob in node.blobs]
            for i, (blob, array) in enumerate(zip(node.blobs, arrays, strict=False)):
                if array.size != blobs[i].size:
                    raise ShapeError(f"{blob.name} is {blob.shape}, and got {array.shape}")
                blobs[i] = array.reshape(blob.shape)
        params = list(self.net.arrays)
        params[index] = tuple(blobs)
        self.net = replace(self.net, arrays=tuple(params))
        self._sessions.clear()

    def run(self, feeds: Mapping[str, Array], values: Sequence[Value]) -> list[Any]:
        """Return the arrays of some of the net's values, after `fit`."""
        names = tuple(dict.fromkeys(value.name for value in values))
        try:
            session = self._session(names)
        except UnsupportedError:
            if all(None not in value.dims for value in self.net.graph.inputs):
                raise
            self.rebuild({blob: array.shape for blob, array in feeds.items()})
            session = self._session(names)
        outputs = session.run(feeds)
        return [outputs[value.name] for value in values]

    def _session(self, names: tuple[str, ...]) -> Session:
        """Return a session for these values, which computes nothing that they do not need."""
        if names not in self._sessions:
            values = {value.name: value for value in self.net.graph.values}
            part = replace(self.net.graph, outputs=tuple(values[name] for name in names))
            session = Session(lower_values(replace(self.net, graph=part)), self._device)
            while len(self._sessions) >= _SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[names] = session
        return self._sessions[names]


def _fits(dims: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(
        d is None or d == n for d, n in zip(dims, shape, strict=True)
    )


def _opened(before: Sequence[int] | None, shape: Sequence[int]) -> tuple[int | None, ...]:
    """Return the shape with None on each axis that differs from the last run's."""
    if before is None or len(before) != len(shape):
        return tuple(shape)
    return tuple(n if n == b else None for n, b in zip(shape, before, strict=True))
