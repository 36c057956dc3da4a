"""The parameter blobs of a net: from fillers, a weights file, or the prototxt itself."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from ..errors import WeightsError
from ..fillers.rng import Rng
from ..memory import require
from ..progress import track
from ..types import Array
from ..weights.trained import Report, Weights, match
from .graph import Graph, Node
from .net import Net
from .sharing import Place


def fill(graph: Graph, rng: Rng) -> Net:
    """Draw the weights from the fillers, layer by layer, as Net::Init does.

    A layer whose blobs are in the prototxt keeps those and draws nothing; a shared blob is drawn
    at every place that uses it, and its owner's stays.

    Args:
        graph: the net.
        rng: the random numbers, as `make_rng` returns them.

    Raises:
        CaffeCompatError: the parameters are larger than the memory available.
    """
    _check_memory(graph)
    params: list[tuple[Array, ...]] = []
    for node in track(graph.nodes, "filling"):
        with node.layer.named():
            shapes = [value.shape for value in node.bottoms]
            blobs = carried(node) or node.layer.fill(rng, *shapes, blobs=node.blobs)
        for i, (owner, place) in enumerate(node.owners):
            owners = blobs if owner == len(params) else params[owner]
            blobs[i] = owners[place].reshape(node.blobs[i].shape)
        params.append(tuple(blobs))
    return Net(graph, tuple(params))


def _check_memory(graph: Graph) -> None:
    sizes = [
        4 * sum(prod(blob.shape) for i, blob in enumerate(node.blobs) if node.owners[i] == (at, i))
        for at, node in enumerate(graph.nodes)
    ]
    largest = graph.nodes[sizes.index(max(sizes))].layer.name if sizes else ""
    require(sum(sizes), f"the parameters, {max(sizes, default=0):,} bytes in layer '{largest}',")


def load(graph: Graph, weights: Weights, rng: Rng, *, reshape: bool = False) -> tuple[Net, Report]:
    """Take the weights from a file, and from the fillers where the file lacks a layer.

    Layers are matched by name, as Caffe's CopyTrainedLayersFrom does. Nothing is copied: arrays
    from the file are views of it. The fillers draw for every layer or, where the file has all,
    for none.

    Args:
        graph: the net.
        weights: the file, opened.
        rng: the random numbers of the fillers.
        reshape: as for `match`.

    Returns:
        The net, and a report on the file's layers.

    Raises:
        WeightsError: a layer's blobs do not fit the file's.
    """
    copied, report = match_weights(graph, weights, reshape=reshape)
    owned: dict[Place, Array] = {}
    if report.left or any(node.layer.proto.blobs for node in graph.nodes):
        net = fill(graph, rng)
        owned = {(i, j): a for i, blobs in enumerate(net.arrays) for j, a in enumerate(blobs)}
    owned |= copied
    params = tuple(
        tuple(
            owned[owner].reshape(blob.shape)
            for blob, owner in zip(node.blobs, node.owners, strict=True)
        )
        for node in graph.nodes
    )
    return Net(graph, params), report


def match_weights(
    graph: Graph, weights: Weights, *, reshape: bool = False
) -> tuple[dict[Place, Array], Report]:
    """Return the blobs that a net takes from a weights file, by the places that own them.

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
    report = match(weights, targets, shared, reshape=reshape)
    owned: dict[Place, Array] = {}
    for index, arrays in report.copied.items():
        for i, array in enumerate(arrays):
            if array is not None:
                owned[nodes[index].owners[i]] = array
    return owned, report


def carried(node: Node) -> list[Array]:
    """Return the blobs that the prototxt itself gives a layer.

    Raises:
        WeightsError: they are not the layer's, in number or size.
    """
    protos = node.layer.proto.blobs
    if not protos:
        return []
    if len(protos) != len(node.blobs):
        raise WeightsError(
            f"the prototxt gives {len(protos)} blobs, the layer has {len(node.blobs)}"
        )
    arrays = []
    for proto, blob in zip(protos, node.blobs, strict=True):
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


def without_count(net: Net) -> list[str]:
    """Return the layers whose moving averages Caffe takes as 0, since their count is 0."""
    names = []
    for index, node in enumerate(net.graph.nodes):
        blobs = net.blobs_of(index)
        if "factor" in node.layer.statistics and getattr(node.layer, "stored", False):
            averages = any(blobs[name].any() for name in ("mean", "variance"))
            names += [node.layer.name] if averages and not blobs["factor"].any() else []
    return names
