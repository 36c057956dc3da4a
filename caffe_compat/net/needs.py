"""Which gradients a backward pass has to compute (net.cpp, Init: who needs backward)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UnsupportedError
from ..layers.layer import Layer
from .aliasing import left_in_memory
from .graph import Graph, Node


@dataclass(frozen=True)
class Needs:
    """The gradients that a backward pass computes.

    Attributes:
        runs: for each node, whether its backward pass runs.
        bottoms: for each node and bottom, whether the gradient there is wanted.
        blobs: likewise for its parameter blobs.
        left: for each value that is overwritten, by name, what is in its memory in the end.
    """

    runs: tuple[bool, ...]
    bottoms: tuple[tuple[bool, ...], ...]
    blobs: tuple[tuple[bool, ...], ...]
    left: dict[str, str]


def needs(graph: Graph) -> Needs:
    """Return what training needs.

    A gradient flows through a layer if the layer or one below it has a blob whose lr_mult is not
    0, if a loss comes after it, and unless `propagate_down` stops it. `force_backward` wants all.
    """
    if graph.net.force_backward:
        return _all(graph)
    blobs = [_trained(node) for node in graph.nodes]
    bottoms, wants = _from_below(graph, blobs)
    runs = list(wants)
    under_loss: set[str] = set()
    readers: dict[str, list[bool]] = {}  # for each value, whether each reader passes a gradient on
    for index, node in reversed([*enumerate(graph.nodes)]):
        contributes = any(
            weight or top.name in under_loss
            for top, weight in zip(node.tops, node.loss_weights, strict=True)
        )
        runs[index] = contributes and wants[index] and not _stopped(node, readers)
        if not runs[index]:
            bottoms[index] = [False] * len(node.bottoms)
        if contributes:
            under_loss.update(value.name for value in node.bottoms)
        for value, wanted in zip(node.bottoms, bottoms[index], strict=True):
            readers.setdefault(value.name, []).append(wanted)
    for index, node in enumerate(graph.nodes):
        if runs[index] and node.layer.ignores_lr_mult:
            blobs[index] = (True,) * len(node.blobs)
    left = left_in_memory(graph)
    _check(graph, runs, bottoms, left)
    return Needs(tuple(runs), tuple(map(tuple, bottoms)), tuple(blobs), left)


def _all(graph: Graph) -> Needs:
    left = left_in_memory(graph)
    runs = [True] * len(graph.nodes)
    needed, _ = _from_below(graph, [_trained(node) for node in graph.nodes])
    bottoms = tuple(
        tuple(flag or node.layer.allows_force_backward(i) for i, flag in enumerate(flags))
        for node, flags in zip(graph.nodes, needed, strict=True)
    )
    _check(graph, runs, bottoms, left)
    blobs = tuple((True,) * len(node.blobs) for node in graph.nodes)
    return Needs(tuple(runs), bottoms, blobs, left)


_READ_NO_BOTTOM = frozenset(("Concat", "Dropout", "Pooling", "Silence", "Slice", "Split"))


def _check(
    graph: Graph,
    runs: Sequence[bool],
    bottoms: Sequence[Sequence[bool]],
    left: Mapping[str, str],
) -> None:
    """Refuse a layer whose bottom is overwritten under another name before its backward reads it.

    A Flatten's top is its bottom's memory; what works in place on it overwrites both.

    Raises:
        UnsupportedError: naming the layer.
        ShapeError: likewise; a gradient is wanted where Caffe aborts, as at a label.
    """
    for node, run, wanted in zip(graph.nodes, runs, bottoms, strict=True):
        if run:
            with node.layer.named():
                node.layer.check_backward(wanted)
        keeps = node.layer.proto.type in _READ_NO_BOTTOM or node.inplace
        states = type(node.layer).backward_left is not Layer.backward_left
        if not run or keeps or states or node.layer.shares(*(v.shape for v in node.bottoms)):
            continue
        for value in node.bottoms:
            if value.name in left:
                with node.layer.named():
                    raise UnsupportedError(
                        f"'{value.blob}' is overwritten through '{left[value.name]}', which in "
                        "Caffe is the same memory, before backward reads it; give the layer that "
                        "works in place a top of its own"
                    )


def _trained(node: Node) -> tuple[bool, ...]:
    """Return whether each blob has a gradient: by this layer's own ParamSpec, not the owner's."""
    specs = [*node.layer.proto.param, *[None] * len(node.blobs)]
    return tuple(
        blob.learned and (spec is None or spec.lr_mult != 0)
        for spec, blob in zip(specs, node.blobs, strict=False)
    )


def _from_below(
    graph: Graph, blobs: Sequence[tuple[bool, ...]]
) -> tuple[list[list[bool]], list[bool]]:
    """Return whether weights to train lie below each node's bottoms, and below or in the node."""
    needed: set[str] = set()
    bottoms: list[list[bool]] = []
    wants: list[bool] = []
    for node, trained in zip(graph.nodes, blobs, strict=True):
        stated = node.layer.proto.propagate_down
        flags = [value.name in needed for value in node.bottoms]
        bottoms.append([bool(flag) for flag in stated] if stated else flags)
        wants.append(any(flags) or any(trained))
        if wants[-1]:
            needed.update(top.name for top in node.tops)
    return bottoms, wants


def _stopped(node: Node, readers: dict[str, list[bool]]) -> bool:
    """Return whether no reader of any top passes a gradient on."""
    flags = [readers.get(top.name) for top in node.tops]
    return all(each is not None and not any(each) for each in flags)
