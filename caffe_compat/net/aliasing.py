"""Blobs that are one memory under two names, which Caffe's nets can overwrite while still read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from ..errors import UnsupportedError
from ..types import Array, Shape
from .graph import Graph, Node, Value


def check_aliases(nodes: Sequence[Node], outputs: Iterable[Value]) -> None:
    """Refuse nets in which Caffe reads memory that a layer has overwritten since.

    A Flatten's top, for example, is its bottom's memory (Blob::ShareData). A ReLU that works in
    place on the top changes the bottom, too, for every later reader; here it changes neither.

    Args:
        nodes: the net's layers, in order.
        outputs: the net's outputs, which are read last.

    Raises:
        UnsupportedError: the message names the layer that writes and the blob that is read later.
    """
    memory: dict[str, int] = {}  # the number of each value's memory, by the value's name
    born: dict[str, int] = {}  # the index of the layer that computes the value
    written: dict[int, int] = {}  # the index of the last layer in place on a memory

    def check(value: Value, reader: str) -> None:
        at = written.get(memory[value.name], -1)
        if at > born[value.name]:
            writer = nodes[at]
            with writer.layer.named():
                raise UnsupportedError(
                    f"works in place on '{writer.tops[0].blob}', which in "
                    f"Caffe is the memory of '{value.blob}' too, and {reader} "
                    "reads that later; give it a top of its own"
                )

    for at, node in enumerate(nodes):
        for value in node.bottoms:
            check(value, f"layer '{node.layer.name}'")
        shares = node.layer.shares(*(value.shape for value in node.bottoms))
        own = {value.blob: value for value in node.bottoms}
        for top in node.tops:
            source = node.bottoms[0] if shares else own.get(top.blob)
            memory[top.name] = len(memory) if source is None else memory[source.name]
            born[top.name] = at
            if source is not None and not shares:
                written[memory[top.name]] = at
    for value in outputs:
        check(value, "the caller, who gets the net's outputs,")


def left_in_memory(graph: Graph) -> dict[str, str]:
    """Return for each value that is overwritten the name of the value that is there in the end."""
    memory: dict[str, list[str]] = {}  # for each value what is written to its memory, in order
    place: dict[str, int] = {}  # which of these it is
    for node in graph.nodes:
        shares = node.layer.shares(*(value.shape for value in node.bottoms))
        own = {value.blob: value for value in node.bottoms}
        for top in node.tops:
            source = node.bottoms[0] if shares else own.get(top.blob)
            written = [] if source is None else memory[source.name]
            if not (shares and source):
                written.append(top.name)
            memory[top.name], place[top.name] = written, len(written)
    return {name: w[-1] for name, w in memory.items() if len(w) > place[name]}


def left_of(
    node: Node, values: Mapping[str, Array], left: Mapping[str, str]
) -> tuple[Array, Array] | None:
    """Return what is left in the memory of the first bottom and top, if either was overwritten."""
    if not (node.bottoms and node.tops):
        return None
    bottom, top = node.bottoms[0], node.tops[0]
    if bottom.name not in left and top.name not in left:
        return None
    y = _of_rows(values[left.get(top.name, top.name)], top.shape)
    if node.inplace:
        return y, y
    return _of_rows(values[left.get(bottom.name, bottom.name)], bottom.shape), y


def _of_rows(array: Array, shape: Shape) -> Array:
    """Return an array in a shape, with as many rows as it has where that depends on the data."""
    return array.reshape(shape if array.size == prod(shape) else (-1, *shape[1:]))
