"""Where Caffe's nets overwrite what they still read: blobs that are one memory under two names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from .graph import Node, Value


def check_aliases(nodes: Sequence[Node], outputs: Iterable[Value]) -> None:
    """Refuse what Caffe computes from memory that was meanwhile overwritten.

    A Flatten's top, for one, is its bottom's memory (Blob::ShareData). A ReLU that runs in place
    on it changes the bottom too, under whatever reads that later; here nothing does.

    Args:
        nodes: a net's layers, in their order.
        outputs: what the net gives when all have run.

    Raises:
        UnsupportedError: with the layer that writes, and what is read after it.
    """
    memory: dict[str, int] = {}  # of a value, by its name: the number of the first one there
    made: dict[str, int] = {}
    written: dict[int, int] = {}  # when a layer last worked in place on a memory

    def check(value: Value, reader: str) -> None:
        at = written.get(memory[value.name], -1)
        if at > made[value.name]:
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
            made[top.name] = at
            if source is not None and not shares:
                written[memory[top.name]] = at
    for value in outputs:
        check(value, "whoever takes the net's outputs")
