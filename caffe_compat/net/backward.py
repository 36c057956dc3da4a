"""The numpy backward pass of a net: every layer's gradients, last to first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..types import Array
from .aliasing import left_of
from .graph import Graph, Node
from .needs import Needs

Extra: TypeAlias = Mapping[int, Mapping[str, Any]]
"""Arrays that layers receive in training beside their bottoms and blobs, by node index and name."""

Watch: TypeAlias = Callable[[int, "list[Array | None]", "list[Array | None]"], None]
"""Takes a node's index and its gradients, at its bottoms and at its blobs."""


@dataclass(frozen=True)
class Backward:
    """A backward pass to be run.

    Attributes:
        graph: the net.
        arrays: the parameter blobs of each node.
        values: every version of every blob, as the forward pass left it.
        extra: what the forward pass received, and what it kept.
        needs: what to compute; None: all.
    """

    graph: Graph
    arrays: Sequence[Sequence[Array]]
    values: Mapping[str, Array]
    extra: Extra
    needs: Needs | None

    @np.errstate(all="ignore")  # infinity and NaN are results, as in a layer
    def run(
        self, grads: dict[str, Array], watch: Watch | None, *, keep: bool
    ) -> list[list[Array | None]]:
        """Run every layer's backward pass and return the gradients of the parameter blobs.

        Args:
            grads: the gradients at the values where the pass starts, by name; those at all other
                values are added.
            watch: called after each node, with its gradients.
            keep: False drops the gradient at a value once its layer has read it.
        """
        named = frozenset(grads)
        params: list[list[Array | None]] = [[None] * len(arrays) for arrays in self.arrays]
        for index, node in reversed(list(enumerate(self.graph.nodes))):
            if self.needs and not self.needs.runs[index]:
                continue
            dys = self._seed(node, grads, named)
            if dys is None or not (node.bottoms or node.blobs):
                continue
            flows, sums = self._flows(index, dys)
            if not keep:
                del dys
                for top in node.tops:
                    grads.pop(top.name, None)
            if watch:
                watch(index, flows, sums)
            for bottom, grad in zip(node.bottoms, flows, strict=False):
                _add(grads, bottom.name, grad)
            anew = node.layer.overwrites(*(value.shape for value in node.bottoms))
            for (layer, i), grad, blob in zip(node.owners, sums, node.blobs, strict=False):
                if grad is not None:
                    total = None if blob.name in anew else params[layer][i]
                    grad = grad.reshape(self.arrays[layer][i].shape)
                    params[layer][i] = grad if total is None else total + grad
        self._share(params)
        return params

    def _share(self, params: list[list[Array | None]]) -> None:
        """Give every place of a shared blob its owner's sum."""
        for index, node in enumerate(self.graph.nodes):
            for i, (layer, place) in enumerate(node.owners):
                shared = params[layer][place]
                if shared is not None:
                    params[index][i] = shared.reshape(self.arrays[index][i].shape)

    def _flows(
        self, index: int, dys: tuple[Array, ...]
    ) -> tuple[list[Array | None], list[Array | None]]:
        """Return a node's gradients at its bottoms and blobs, None where none is needed."""
        node, needs = self.graph.nodes[index], self.needs
        count = len(node.bottoms)
        bottoms = needs.bottoms[index] if needs else (True,) * count
        blobs = needs.blobs[index] if needs else (True,) * len(node.blobs)
        x = [self.values[v.name] for v in node.bottoms]
        arrays = {**node.named(self.arrays[index]), **self.extra.get(index, {})}
        dy = dys[0] if len(dys) == 1 else dys
        alone = bool(count) and not any(bottoms)
        with node.layer.named():
            if alone:
                flows = (None,) * count + node.layer.backward_blobs(dy, *x, **arrays)
            elif needs and (left := left_of(node, self.values, needs.left)):
                flows = node.layer.backward_left(dy, *x, left=left[0], y=left[1], **arrays)
            else:
                flows = node.layer.backward(dy, *x, **arrays)
        flows = flows if isinstance(flows, tuple) else (flows,)
        return (
            [g if want else None for g, want in zip(flows[:count], bottoms, strict=False)],
            [g if want else None for g, want in zip(flows[count:], blobs, strict=False)],
        )

    def _seed(
        self, node: Node, grads: dict[str, Array], named: Collection[str]
    ) -> tuple[Array, ...] | None:
        """Return the gradients at a node's tops; None where none of them has one.

        A loss weight adds to what the blob's readers sent back, as Caffe's Split does.
        """
        for top, weight in zip(node.tops, node.loss_weights, strict=True):
            if weight and top.name not in named:
                _add(grads, top.name, np.full_like(self.values[top.name], weight))
        if not any(top.name in grads for top in node.tops):
            return None
        return tuple(
            grads[top.name] if top.name in grads else np.zeros_like(self.values[top.name])
            for top in node.tops
        )


def _add(grads: dict[str, Array], name: str, grad: Array | None) -> None:
    if grad is not None:
        grads[name] = grads[name] + grad if name in grads else grad
