"""A net's parameter blobs by layer and name, to look at and to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from numpy.typing import ArrayLike

from ..errors import ShapeError
from ..types import Array
from .feeds import as_array
from .graph import Graph


class Net(Protocol):
    """A net with parameters: a graph, and the arrays of each node."""

    @property
    def graph(self) -> Graph:
        """The layers."""

    def own(self, index: int, i: int) -> Array:
        """Return a blob of a node as an array that may be changed."""


class Params(Mapping[str, "Blobs"]):
    """The layers that have parameter blobs, by name: `net.params["conv1"]["weight"]`.

    Of layers that share a name the first one is listed. `params["conv1"] = other["conv1"]` copies
    all blobs of a layer, by their order.
    """

    def __init__(self, net: Net) -> None:
        self._net = net
        nodes = list(enumerate(net.graph.nodes))
        self._index = {n.layer.name: i for i, n in reversed(nodes) if n.blobs}
        self._names = list(dict.fromkeys(n.layer.name for _, n in nodes if n.blobs))

    def __getitem__(self, layer: str) -> Blobs:
        """Return the layer's blobs."""
        if layer not in self._index:
            names = ", ".join(self._names) or "none"
            raise KeyError(f"no layer {layer!r} has parameters; these have: {names}")
        return Blobs(self._net, self._index[layer])

    def __setitem__(self, layer: str, blobs: Mapping[str, ArrayLike]) -> None:
        """Copy blobs into the layer's, by their order.

        Raises:
            ShapeError: they are not as many, or not of these shapes; nothing is changed.
        """
        self[layer].assign(list(blobs.values()))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the layers' names, in the net's order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._names)


class Blobs(Mapping[str, Array]):
    """A layer's parameter blobs by name or by their index in Caffe.

    A blob that is a view of the weights file is copied when it is asked for, so that it can be
    changed: by slices (`weight[:, 0] = 0`), in place (`*=`), or as a whole (`blobs["bias"] = 0`).
    """

    def __init__(self, net: Net, index: int) -> None:
        self._net, self._node, self._nth = net, net.graph.nodes[index], index

    def _place(self, blob: str | int) -> int:
        names = list(self)
        if isinstance(blob, str) and blob in names:
            return names.index(blob)
        if isinstance(blob, int) and 0 <= blob < len(names):
            return blob
        have = ", ".join(names)
        raise KeyError(f"layer {self._node.layer.name!r} has no blob {blob!r}; it has: {have}")

    def __getitem__(self, blob: str | int) -> Array:
        """Return a blob; to change it changes the net."""
        return self._net.own(self._nth, self._place(blob))

    def __setitem__(self, blob: str | int, value: ArrayLike) -> None:
        """Copy numbers into a blob.

        Raises:
            ShapeError: they are no numbers, or of another shape; one number fits every shape.
        """
        place = self._place(blob)
        values: list[ArrayLike | None] = [None] * len(self)
        values[place] = value
        self.assign(values)

    def assign(self, values: list[ArrayLike | None]) -> None:
        """Copy numbers into all blobs; None leaves one as it is.

        Raises:
            ShapeError: they are not as many, no numbers, or of other shapes; nothing is changed.
        """
        blobs, name = self._node.blobs, self._node.layer.name
        if len(values) != len(blobs):
            raise ShapeError(f"layer '{name}' has {len(blobs)} blobs, and gets {len(values)}")
        arrays = []
        for blob, value in zip(blobs, values, strict=True):
            array = None if value is None else as_array(f"{name}/{blob.name}", value)
            if array is not None and array.ndim and array.shape != blob.shape:
                raise ShapeError(
                    f"'{blob.name}' of layer '{name}' is {blob.shape}, and gets {array.shape}"
                )
            arrays.append(array)
        for i, array in enumerate(arrays):
            if array is not None:
                self._net.own(self._nth, i)[...] = array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the blobs' names, in Caffe's order."""
        return (blob.name for blob in self._node.blobs)

    def __len__(self) -> int:
        """Return the number of blobs."""
        return len(self._node.blobs)
