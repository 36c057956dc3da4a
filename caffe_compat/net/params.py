"""Parameter blobs of a net: from the fillers, from a weights file, from the prototxt."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import prod

import numpy as np

from ..errors import CaffeCompatError, WeightsError
from ..fillers.rng import Rng
from ..progress import track
from ..types import Array
from ..weights.trained import Report, Weights, match
from .graph import Graph, Node
from .net import Net
from .sharing import Place


def fill(graph: Graph, rng: Rng) -> Net:
    """The net with the weights that its fillers draw, layer by layer, as Net::Init does.

    A layer whose prototxt carries its blobs keeps those and draws nothing; a shared blob is
    drawn at every place that uses it, and its owner's stays.

    Raises:
        CaffeCompatError: the parameters are more than the machine's memory; no system says so
            before it ends the process.
    """
    _check_room(graph)
    params: list[tuple[Array, ...]] = []
    for node in track(graph.nodes, "filling"):
        with node.layer.named():
            shapes = [value.shape for value in node.bottoms]
            drawn = carried(node) or node.layer.fill(rng, *shapes, blobs=node.blobs)
        for i, (owner, place) in enumerate(node.owners):
            held = drawn if owner == len(params) else params[owner]
            drawn[i] = held[place].reshape(node.blobs[i].shape)
        params.append(tuple(drawn))
    return Net(graph, tuple(params))


def _check_room(graph: Graph) -> None:
    sizes = [
        4 * sum(prod(blob.shape) for i, blob in enumerate(node.blobs) if node.owners[i] == (at, i))
        for at, node in enumerate(graph.nodes)
    ]
    have = _memory()
    if have is not None and sum(sizes) > have:
        largest = graph.nodes[sizes.index(max(sizes))].layer.name
        raise CaffeCompatError(
            f"the parameters take {sum(sizes):,} bytes, {max(sizes):,} of them "
            f"in layer '{largest}', and the machine has {have:,}"
        )


def _memory() -> int | None:
    """The machine's memory in bytes; None where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def load(graph: Graph, weights: Weights, rng: Rng) -> tuple[Net, Report]:
    """The net with a weights file's blobs, and what the file lacks from the fillers.

    Layers are found by name, as Caffe's CopyTrainedLayersFrom does. Nothing is copied: arrays
    that come from the file are views of it. The fillers draw for every layer or, where the file
    leaves none to them, for no one.

    Raises:
        WeightsError: a layer's blobs do not fit the file's.
    """
    copied, report = match_weights(graph, weights)
    owned: dict[Place, Array] = {}
    if report.left or any(node.layer.proto.blobs for node in graph.nodes):
        drawn = fill(graph, rng)
        owned = {(i, j): a for i, held in enumerate(drawn.arrays) for j, a in enumerate(held)}
    owned |= copied
    params = tuple(
        tuple(
            owned[owner].reshape(blob.shape)
            for blob, owner in zip(node.blobs, node.owners, strict=True)
        )
        for node in graph.nodes
    )
    return Net(graph, params), report


def match_weights(graph: Graph, weights: Weights) -> tuple[dict[Place, Array], Report]:
    """The blobs that a net takes from a weights file, by the places that own them.

    Raises:
        WeightsError: a layer's blobs do not fit the file's.
    """
    nodes = graph.nodes
    targets = [(n.layer.name, [(blob.name, blob.shape) for blob in n.blobs]) for n in nodes]
    shared = {
        (index, i)
        for index, node in enumerate(nodes)
        for i, owner in enumerate(node.owners)
        if owner != (index, i)
    }
    report = match(weights, targets, shared)
    owned: dict[Place, Array] = {}
    for index, arrays in report.copied.items():
        for i, array in enumerate(arrays):
            if array is not None:
                owned[nodes[index].owners[i]] = array
    return owned, report


def carried(node: Node) -> list[Array]:
    """The blobs that the prototxt itself gives a layer."""
    given = node.layer.proto.blobs
    if not given:
        return []
    if len(given) != len(node.blobs):
        raise WeightsError(
            f"the prototxt gives {len(given)} blobs, the layer has {len(node.blobs)}"
        )
    arrays = []
    for proto, blob in zip(given, node.blobs, strict=True):
        data = np.array(proto.double_data or proto.data, np.float32)
        if data.size != int(np.prod(blob.shape)):
            raise WeightsError(f"the prototxt's blob has {data.size} values for {blob.shape}")
        arrays.append(data.reshape(blob.shape))
    return arrays


def without_filler(graph: Graph, layers: Iterable[str]) -> list[str]:
    """Return those of the layers whose weights are all 0, since the prototxt gives no filler.

    Args:
        graph: the net.
        layers: names of layers whose blobs their fillers drew.
    """
    names = set(layers)
    return list(
        dict.fromkeys(
            node.layer.name
            for index, node in enumerate(graph.nodes)
            if node.layer.name in names and not node.layer.proto.blobs
            for i, blob in enumerate(node.blobs)
            if blob.name.startswith(("weight", "W_"))
            and node.owners[i] == (index, i)
            and blob.filler is not None
            and (blob.filler.type, blob.filler.value) == ("constant", 0)
        )
    )
