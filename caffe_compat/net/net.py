"""A net with its weights, and its numpy reference: forward and backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from ..progress import track
from ..types import Array
from ..weights import mapped
from .graph import Graph, Node, Value


@dataclass(frozen=True)
class Net:
    """A graph and the data of its parameter blobs.

    Attributes:
        graph: the layers, blobs and shapes.
        arrays: the parameter blobs of each node, float32, in Caffe's order; a shared blob is the
            same array at every place that uses it.
    """

    graph: Graph
    arrays: tuple[tuple[Array, ...], ...]

    @property
    def params(self) -> dict[str, dict[str, Array]]:
        """The parameter blobs by layer and name: `net.params["conv1"]["weight"]`.

        Of layers that share a name the first one is listed.
        """
        named: dict[str, dict[str, Array]] = {}
        for index, node in enumerate(self.graph.nodes):
            if node.blobs:
                named.setdefault(node.layer.name, self.blobs_of(index))
        return named

    @property
    def blobs(self) -> dict[str, Value]:
        """The last version of each blob by its Caffe name: `net.blobs["data"].shape`."""
        return {value.blob: value for value in self.graph.values}

    def blobs_of(self, index: int) -> dict[str, Array]:
        """Return the parameter blobs of a node by the names that its layer gives them."""
        names = (blob.name for blob in self.graph.nodes[index].blobs)
        return dict(zip(names, self.arrays[index], strict=True))

    def check(self) -> None:
        """Check that the files behind the parameters are unchanged.

        Raises:
            WeightsError: one was changed since it was opened. To read on would end the process.
        """
        mapped.check(array for arrays in self.arrays for array in arrays)

    def forward(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run every layer in numpy.

        Args:
            feeds: an array for each input, by its Caffe name, of the shape that the net was
                built for.

        Returns:
            The last version of every blob, by its Caffe name.

        Raises:
            ShapeError: an input is missing, unknown, or of another shape.
            UnsupportedError: a layer has no numpy forward pass.
        """
        values = self.run(feeds)
        return {value.blob: values[value.name] for value in self.graph.values}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run like `forward`, and return every version of every blob, by `Value.name`."""
        self.check()
        values = self._fed(feeds)
        for index, node in enumerate(track(self.graph.nodes, "computing")):
            if len(node.layer.feeds()) == len(node.tops) and node.tops:
                continue
            outputs = self._step(index, node, values)
            for i, (top, array) in enumerate(zip(node.tops, outputs, strict=True)):
                if i not in node.layer.feeds():
                    values[top.name] = array
        return values

    def _step(self, index: int, node: Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
        with node.layer.named():
            outputs = node.layer.forward(
                *(values[v.name] for v in node.bottoms), **self.blobs_of(index)
            )
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _fed(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        inputs = {value.blob: value for value in self.graph.inputs}
        for name in feeds:
            if name not in inputs:
                raise ShapeError(f"the net has no input '{name}'; its inputs: {', '.join(inputs)}")
        for name, value in inputs.items():
            if name not in feeds:
                raise ShapeError(f"input '{name}' {value.shape} is not fed")
            if tuple(feeds[name].shape) != value.shape:
                raise ShapeError(
                    f"input '{name}' is {value.shape}, and was fed {tuple(feeds[name].shape)}"
                )
        return {inputs[name].name: np.asarray(array, np.float32) for name, array in feeds.items()}

    def backward(
        self, values: Mapping[str, Array], diffs: Mapping[str, Array]
    ) -> tuple[dict[str, Array], list[list[Array | None]]]:
        """Run every layer's backward pass in numpy, last to first.

        Args:
            values: the result of `run`.
            diffs: the gradients at some blobs, by Caffe name; a blob that has a loss weight and is
                not named here gets that weight.

        Returns:
            The gradient at every value that a gradient reached, by `Value.name`; and the gradients
            of the parameter blobs, in the order of `arrays` (None: no gradient reached it). Those
            of a shared blob are summed, and every place that uses it has the sum.

        Raises:
            UnsupportedError: a layer has no backward pass.
        """
        self.check()
        grads = {self.graph.blob(blob).name: array for blob, array in diffs.items()}
        params: list[list[Array | None]] = [[None] * len(arrays) for arrays in self.arrays]
        for index, node in reversed(list(enumerate(self.graph.nodes))):
            dys = self._seed(node, values, grads)
            if dys is None or not (node.bottoms or node.blobs):
                continue
            with node.layer.named():
                flows = node.layer.backward(
                    dys[0] if len(dys) == 1 else dys,
                    *(values[v.name] for v in node.bottoms),
                    **self.blobs_of(index),
                )
            flows = flows if isinstance(flows, tuple) else (flows,)
            for bottom, grad in zip(node.bottoms, flows, strict=False):
                _add(grads, bottom.name, grad)
            for (layer, i), grad in zip(node.owners, flows[len(node.bottoms) :], strict=False):
                if grad is not None:
                    total = params[layer][i]
                    grad = grad.reshape(self.arrays[layer][i].shape)
                    params[layer][i] = grad if total is None else total + grad
        for index, node in enumerate(self.graph.nodes):
            for i, (layer, place) in enumerate(node.owners):
                shared = params[layer][place]
                if shared is not None:
                    params[index][i] = shared.reshape(self.arrays[index][i].shape)
        return grads, params

    def _seed(
        self, node: Node, values: Mapping[str, Array], grads: dict[str, Array]
    ) -> tuple[Array, ...] | None:
        """Return the gradients at a node's tops; None where none of them has one."""
        for top, weight in zip(node.tops, node.loss_weights, strict=True):
            if weight and top.name not in grads:
                grads[top.name] = np.full_like(values[top.name], weight)
        if not any(top.name in grads for top in node.tops):
            return None
        return tuple(grads.get(top.name, np.zeros_like(values[top.name])) for top in node.tops)


def _add(grads: dict[str, Array], name: str, grad: Array | None) -> None:
    if grad is not None:
        grads[name] = grads[name] + grad if name in grads else grad
