"""Engines: what runs a solver's net forward and backward, on numpy's arrays or torch's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ShapeError
from ..net.graph import Graph
from ..net.net import Net
from ..net.sharing import Place
from ..types import Array
from ..weights.trained import Weights
from .blocks import Block, Learnable
from .feeding import Feeder
from .large import Early
from .log import Write


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        loss: the sum over the tops of their values times their loss weights.
        outputs: the net's outputs by Caffe name, in Caffe's order, as numpy arrays.
    """

    loss: float
    outputs: Mapping[str, Array]


class Engine(Protocol):
    """A net that runs and learns, with the data that it reads."""

    @property
    def name(self) -> str:
        """The net's name."""

    def tester(self, net: Net, feeder: Feeder) -> Engine:
        """Return an engine for a test net that shares this one's blobs by layer name.

        Raises:
            ShapeError: a layer of the same name has blobs of other shapes.
        """

    @property
    def learnables(self) -> Sequence[Learnable]:
        """The blobs to learn, in Caffe's order."""

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The loss weights that are not 0, by blob."""

    @property
    def params(self) -> Sequence[Any]:
        """The data of `learnables`, the engine's own arrays."""

    @property
    def grads(self) -> Sequence[Any]:
        """Their gradients since `clear`, alike; after an update what it subtracted."""

    @property
    def changes(self) -> dict[int, Any] | None:
        """What the last update subtracted, by index, where that lies in its history.

        None: the gradients are arrays that others have, and an update writes to them.
        """

    @property
    def updates_early(self) -> bool:
        """Whether a backward pass may update some of the parameters; see `forward_backward`."""

    def blocks(self, history: Sequence[Any], skip: Collection[int] = ()) -> Iterator[Block]:
        """Yield the parameters in blocks, with gradients and history, as an update wants them.

        Args:
            history: for each slot of the rule one array for each parameter.
            skip: the indices of parameters to leave out.
        """

    def clear(self) -> None:
        """Set the gradients to zero."""

    def forward(self, debug: Write | None = None) -> Pass:
        """Run the net on its next batch.

        Args:
            debug: takes Caffe's lines of `debug_info`.
        """

    def forward_backward(self, debug: Write | None = None, early: Early | None = None) -> Pass:
        """Run the net on its next batch, and add the gradients of its loss to `grads`.

        Args:
            debug: takes Caffe's lines of `debug_info`.
            early: may be given parameters whose gradients are there, unless the loss is not finite.
        """

    def first_not_finite(self) -> str | None:
        """Return the name of the first layer of the last pass with a top that is not finite."""

    def net(self) -> Net:
        """Return the net with its weights as they are, as numpy arrays."""

    def load(self, weights: Weights) -> None:
        """Copy the blobs of a weights file into `params`, by layer name."""

    def save(self, path: Path, *, diffs: bool) -> None:
        """Write a caffemodel, or with the suffix `.h5` Caffe's HDF5, with the gradients or not."""

    def array(self, array: Array) -> Any:
        """Return a numpy array as one of the engine's own."""

    def numpy(self, array: Any) -> Array:
        """Return one of the engine's own arrays as numpy's, which may be the same memory."""

    def state(self) -> bytes:
        """Return the place of its reader and what one pass leaves to the next; empty for none."""

    def restore(self, state: bytes) -> None:
        """Go to where `state` was."""


def learnables(graph: Graph) -> list[Learnable]:
    """Return the parameter blobs of a net that own their data, in Caffe's order.

    A multiplier of a shared blob is that of the first layer that gives one (net.cpp, AppendParam).
    """
    users: dict[Place, list[Any]] = {}
    for node in graph.nodes:
        specs = [*node.layer.proto.param, *[None] * len(node.blobs)]
        for spec, owner in zip(specs, node.owners, strict=False):
            users.setdefault(owner, []).append(spec)

    def multiplier(owner: Place, field: str) -> float:
        if field == "lr_mult" and not graph.nodes[owner[0]].blobs[owner[1]].learned:
            return 0.0
        stated = (s for s in users[owner] if s is not None and s.HasField(field))
        return float(getattr(next(stated, None), field, 1.0))

    return [
        Learnable(
            graph.nodes[index].layer.name,
            graph.nodes[index].blobs[place].name,
            multiplier((index, place), "lr_mult"),
            multiplier((index, place), "decay_mult"),
        )
        for index, place in owned(graph)
    ]


def owned(graph: Graph) -> list[Place]:
    """Return the places of the parameter blobs that own their data, in Caffe's order."""
    return [
        (index, i)
        for index, node in enumerate(graph.nodes)
        for i, owner in enumerate(node.owners)
        if owner == (index, i)
    ]


def rewritten(graph: Graph) -> set[Place]:
    """Return the places of the blobs whose gradients each pass writes anew; see `overwrites`."""
    return {
        owner
        for node in graph.nodes
        for owner, blob in zip(node.owners, node.blobs, strict=True)
        if blob.name in node.layer.overwrites(*(value.shape for value in node.bottoms))
    }


def owning(net: Net, shared: Mapping[Place, Array] | None = None) -> tuple[Net, dict[Place, Array]]:
    """Return a net with parameter blobs to write to, and these by the places that own them.

    Args:
        net: the net, whose blobs are taken as they are, or copied where they are read-only.
        shared: arrays to use in their place.
    """
    own = dict(shared or {})
    for index, i in owned(net.graph):
        if (index, i) not in own:
            own[index, i] = np.require(net.arrays[index][i], np.float32, ["C", "W"])
    arrays = tuple(
        tuple(
            own[owner].reshape(blob.shape)
            for owner, blob in zip(node.owners, node.blobs, strict=True)
        )
        for node in net.graph.nodes
    )
    return Net(net.graph, arrays), own


def loss_weights(graph: Graph) -> dict[str, float]:
    """Return the loss weights that are not 0, by blob."""
    return {
        top.blob: weight
        for node in graph.nodes
        for top, weight in zip(node.tops, node.loss_weights, strict=True)
        if weight
    }


def share(source: Graph, arrays: Sequence[Sequence[Any]], target: Graph) -> dict[Place, Any]:
    """Return the blobs that a net takes from another by layer name (ShareTrainedLayersWith).

    Args:
        source: the net that they belong to.
        arrays: its parameter blobs, as `Net.arrays`.
        target: the net that uses them.

    Raises:
        ShapeError: a layer has blobs of another number or shape there.
    """
    first: dict[str, int] = {}
    for index, node in enumerate(target.nodes):
        first.setdefault(node.layer.name, index)
    shared: dict[Place, Any] = {}
    for node, blobs in zip(source.nodes, arrays, strict=True):
        if node.layer.name not in first:
            continue
        user = target.nodes[first[node.layer.name]]
        ours, theirs = [b.shape for b in node.blobs], [b.shape for b in user.blobs]
        with user.layer.named():
            if ours != theirs:
                raise ShapeError(f"cannot share the train net's blobs {ours}; has {theirs}")
        shared |= {user.owners[i]: array for i, array in enumerate(blobs)}
    return shared
