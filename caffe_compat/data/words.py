"""The words that a net's layers draw from its stream when they are set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..caffe_pb2 import NetParameter
from ..fillers.rng import Rng
from ..layers.layer import Layer
from ..net import build
from ..net.params import carried
from ..types import Shape
from .iterator import SOURCES
from .paths import Paths


def draw_words(
    net: NetParameter,
    rng: Rng,
    shapes: Callable[[], Mapping[str, Shape]],
    paths: Paths,
    fork: str | None = None,
) -> dict[str, list[int]]:
    """Return by layer the words that seed what a data layer draws from.

    The layers draw in the net's order, fillers too, so those that stand before the last data
    layer are drawn here; commonly there are none.

    Args:
        net: the net, its layers selected.
        rng: the net's stream where it begins; it moves on to the last data layer.
        shapes: gives the shapes of the data layers' tops, by blob, where they are needed.
        paths: where the files that layers name are looked up.
        fork: whose layers those are that forks define differently.
    """
    before = _up_to_data(net)
    layers = build.create(before, fork, find=paths.find)
    if all(_seeds(layer) or type(layer).blobs is Layer.blobs for layer in layers):
        return {layer.name: rng.u32(_seeds(layer)).tolist() for layer in layers if _seeds(layer)}
    words: dict[str, list[int]] = {}
    for node in build.connect(before, layers, shapes()).nodes:
        if draws := _seeds(node.layer):
            words[node.layer.name] = rng.u32(draws).tolist()
        elif not carried(node):
            bottoms = [value.shape for value in node.bottoms]
            node.layer.fill(rng, *bottoms, blobs=node.blobs)
    return words


def zero_words(net: NetParameter) -> dict[str, list[int]]:
    """Return by layer as many words as it draws, all 0, for who looks at shapes alone."""
    data = NetParameter(layer=[layer for layer in net.layer if layer.type in SOURCES])
    return {layer.name: [0] * _seeds(layer) for layer in build.create(data) if _seeds(layer)}


def _up_to_data(net: NetParameter) -> NetParameter:
    """Return the net up to its last data layer."""
    places = [i for i, layer in enumerate(net.layer) if layer.type in SOURCES]
    before = NetParameter(name=net.name, layer=net.layer[: max(places, default=-1) + 1])
    before.state.CopyFrom(net.state)
    return before


def _seeds(layer: Layer) -> int:
    """Return how many words a data layer draws; 0 for any other layer."""
    draws: int = layer.setup_draws() if hasattr(layer, "setup_draws") else 0
    return draws
