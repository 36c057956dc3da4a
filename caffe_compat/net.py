"""A net with its weights, and what numpy says that it computes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from .errors import CaffeCompatError, ShapeError, WeightsError
from .graph import Graph, Node
from .layer import Array
from .progress import track
from .rng import Rng
from .sharing import Place
from .weights import mapped
from .weights.trained import Report, Weights, match


@dataclass(frozen=True)
class Net:
    """A graph and the data of its parameter blobs.

    Attributes:
        graph: the layers, blobs and shapes.
        params: for each node its parameter blobs, float32, in Caffe's order; a shared blob is
            the same array at every place that uses it.
    """

    graph: Graph
    params: tuple[tuple[Array, ...], ...]

    def blobs(self, index: int) -> dict[str, Array]:
        """The parameter blobs of a node by the names that its layer gives them."""
        names = (blob.name for blob in self.graph.nodes[index].blobs)
        return dict(zip(names, self.params[index], strict=True))

    def check(self) -> None:
        """Makes sure that the files that parameters are views of are as they were.

        Raises:
            WeightsError: one was changed since. To read on would end the process.
        """
        mapped.check(array for held in self.params for array in held)

    def forward(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run every layer in numpy.

        Args:
            feeds: an array for each input, by its Caffe name, of the shape the net was built for.

        Returns:
            Every blob's last version by its Caffe name.
        """
        values = self.run(feeds)
        return {value.blob: values[value.name] for value in self.graph.values}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Like `forward`, with every version of every blob, by `Value.name`."""
        self.check()
        values = self._fed(feeds)
        for index, node in enumerate(track(self.graph.nodes, "computing")):
            if len(node.layer.feeds()) == len(node.tops) and node.tops:
                continue
            made = self._step(index, node, values)
            for i, (top, array) in enumerate(zip(node.tops, made, strict=True)):
                if i not in node.layer.feeds():
                    values[top.name] = array
        return values

    def _step(self, index: int, node: Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
        with node.layer.named():
            made = node.layer.forward(*(values[v.name] for v in node.bottoms), **self.blobs(index))
        return made if isinstance(made, tuple) else (made,)

    def _fed(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        wanted = {value.blob: value for value in self.graph.inputs}
        for name in feeds:
            if name not in wanted:
                raise ShapeError(f"the net has no input '{name}'; its inputs: {', '.join(wanted)}")
        for name, value in wanted.items():
            if name not in feeds:
                raise ShapeError(f"input '{name}' {value.shape} is not fed")
            if tuple(feeds[name].shape) != value.shape:
                raise ShapeError(
                    f"input '{name}' is {value.shape}, and was fed {tuple(feeds[name].shape)}"
                )
        return {wanted[name].name: np.asarray(array, np.float32) for name, array in feeds.items()}

    def backward(
        self, values: Mapping[str, Array], diffs: Mapping[str, Array]
    ) -> tuple[dict[str, Array], list[list[Array | None]]]:
        """Run every layer's backward pass in numpy, last to first.

        Args:
            values: what `run` returned.
            diffs: the gradient at some blobs, by Caffe name; where a blob has a loss weight and
                is not named here, its gradient is that weight.

        Returns:
            The gradient at every value that one reached, by `Value.name`, and the gradients
            of the parameter blobs, as `params` has them (None: none reached it); those of a
            shared blob are summed, and the sum stands at every place that uses it.
        """
        self.check()
        grads = {self.graph.blob(blob).name: array for blob, array in diffs.items()}
        params: list[list[Array | None]] = [[None] * len(held) for held in self.params]
        for index, node in reversed(list(enumerate(self.graph.nodes))):
            dys = self._seed(node, values, grads)
            if dys is None or not (node.bottoms or node.blobs):
                continue
            with node.layer.named():
                flows = node.layer.backward(
                    dys[0] if len(dys) == 1 else dys,
                    *(values[v.name] for v in node.bottoms),
                    **self.blobs(index),
                )
            flows = flows if isinstance(flows, tuple) else (flows,)
            for bottom, grad in zip(node.bottoms, flows, strict=False):
                _add(grads, bottom.name, grad)
            for (layer, i), grad in zip(node.owners, flows[len(node.bottoms) :], strict=False):
                if grad is not None:
                    held = params[layer][i]
                    grad = grad.reshape(self.params[layer][i].shape)
                    params[layer][i] = grad if held is None else held + grad
        for index, node in enumerate(self.graph.nodes):
            for i, (layer, place) in enumerate(node.owners):
                shared = params[layer][place]
                if shared is not None:
                    params[index][i] = shared.reshape(self.params[index][i].shape)
        return grads, params

    def _seed(
        self, node: Node, values: Mapping[str, Array], grads: dict[str, Array]
    ) -> tuple[Array, ...] | None:
        """The gradients at a node's tops; None where none of them has any."""
        for top, weight in zip(node.tops, node.loss_weights, strict=True):
            if weight and top.name not in grads:
                grads[top.name] = np.full_like(values[top.name], weight)
        if not any(top.name in grads for top in node.tops):
            return None
        return tuple(
            grads.get(top.name, np.zeros_like(values[top.name])) for top in node.tops
        )


def _add(grads: dict[str, Array], name: str, grad: Array | None) -> None:
    if grad is not None:
        grads[name] = grads[name] + grad if name in grads else grad


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
        raise CaffeCompatError(f"the parameters take {sum(sizes):,} bytes, {max(sizes):,} of them "
                               f"in layer '{largest}', and the machine has {have:,}")


def _memory() -> int | None:
    """The machine's memory in bytes; None where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def trained(graph: Graph, weights: Weights, rng: Rng) -> tuple[Net, Report]:
    """The net with a weights file's blobs, and what the file lacks from the fillers.

    Layers are found by name, as Caffe's CopyTrainedLayersFrom does. Nothing is copied: arrays
    that come from the file are views of it. The fillers draw for every layer or, where the file
    leaves none to them, for no one.

    Raises:
        WeightsError: a layer's blobs do not fit the file's.
    """
    copied, report = loaded(graph, weights)
    owned: dict[Place, Array] = {}
    if report.left or any(node.layer.proto.blobs for node in graph.nodes):
        drawn = fill(graph, rng)
        owned = {(i, j): a for i, held in enumerate(drawn.params) for j, a in enumerate(held)}
    owned |= copied
    params = tuple(
        tuple(
            owned[owner].reshape(blob.shape)
            for blob, owner in zip(node.blobs, node.owners, strict=True)
        )
        for node in graph.nodes
    )
    return Net(graph, params), report


def loaded(graph: Graph, weights: Weights) -> tuple[dict[Place, Array], Report]:
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
        raise WeightsError(f"the prototxt gives {len(given)} blobs, the layer has "
                           f"{len(node.blobs)}")
    arrays = []
    for proto, blob in zip(given, node.blobs, strict=True):
        data = np.array(proto.double_data or proto.data, np.float32)
        if data.size != int(np.prod(blob.shape)):
            raise WeightsError(f"the prototxt's blob has {data.size} values for {blob.shape}")
        arrays.append(data.reshape(blob.shape))
    return arrays


def parameters(net: Net) -> Iterator[tuple[str, Array]]:
    """Every parameter blob that a layer owns, as ('conv1/weight', array)."""
    for index, node in enumerate(net.graph.nodes):
        for i, blob in enumerate(node.blobs):
            if node.owners[i] == (index, i):
                yield f"{node.layer.name}/{blob.name}", net.params[index][i]
