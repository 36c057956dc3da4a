"""Which layer of a prototxt computes what another reads, before any layer is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..caffe_pb2 import LayerParameter, NetParameter


@dataclass(frozen=True)
class Flow:
    """The connections of a net's layers, by their indices.

    Attributes:
        sources: for each layer and bottom, the last layer before it that writes the blob; None
            where none does.
        writers: for each blob, the layer that writes it last.
    """

    sources: tuple[tuple[int | None, ...], ...]
    writers: dict[str, int]

    @classmethod
    def of(cls, net: NetParameter) -> Flow:
        """Return the connections of an upgraded net whose layers are selected."""
        writers: dict[str, int] = {}
        sources: list[tuple[int | None, ...]] = []
        for index, layer in enumerate(net.layer):
            sources.append(tuple(writers.get(blob) for blob in layer.bottom))
            writers.update(dict.fromkeys(layer.top, index))
        return cls(tuple(sources), writers)

    def above(self, ends: Iterable[int]) -> set[int]:
        """Return the layers that some layers depend on, and these themselves."""
        kept: set[int] = set()
        left = list(ends)
        while left:
            index = left.pop()
            if index not in kept:
                kept.add(index)
                left.extend(source for source in self.sources[index] if source is not None)
        return kept

    def below(self, starts: Collection[int]) -> set[int]:
        """Return the layers that depend on some layers, and these themselves."""
        reached = set(starts)
        for index, sources in enumerate(self.sources):
            if any(source in reached for source in sources):
                reached.add(index)
        return reached


def with_layers(net: NetParameter, layers: Iterable[LayerParameter]) -> NetParameter:
    """Return the net with other layers."""
    new = NetParameter()
    new.CopyFrom(net)
    new.ClearField("layer")
    new.layer.extend(layers)
    return new


def read_blobs(layers: Iterable[LayerParameter]) -> set[str]:
    """Return the blobs that some of the layers read."""
    return {blob for layer in layers for blob in layer.bottom}
