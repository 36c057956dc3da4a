"""A net with its weights, and its numpy reference: forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ShapeError
from ..fillers.rng import Rng
from ..memory import require
from ..progress import track
from ..types import Array, Shape
from ..weights import mapped
from .aliasing import left_in_memory
from .backward import Backward, Extra, Watch
from .feeds import as_array, by_name
from .graph import Graph, Node, Value
from .needs import Needs
from .parameters import Params
from .saving import save
from .summary import summarize


@dataclass(frozen=True, repr=False)
class Net:
    """A graph and the data of its parameter blobs.

    Attributes:
        graph: the layers, blobs and shapes.
        arrays: the parameter blobs of each node, float32, in Caffe's order; a shared blob is the
            same array at every place that uses it.
    """

    graph: Graph
    arrays: tuple[tuple[Array, ...], ...]

    def __str__(self) -> str:
        """Return the table of `show`: layers, blobs, parameters and their sums."""
        return str(summarize(self.graph))

    def __repr__(self) -> str:
        """Return the net's name and its number of layers."""
        return f"<Net {self.graph.net.name!r} of {len(self.graph.nodes)} layers>"

    @property
    def params(self) -> Params:
        """The parameter blobs by layer and name: `net.params["conv1"]["weight"][:, 0] = 0`."""
        return Params(self)

    def own(self, index: int, i: int) -> Array:
        """Return a blob of a node as an array that may be changed, here and where it is shared.

        A view of the weights file is replaced by a copy first; the file is never changed.
        """
        if not self.arrays[index][i].flags.writeable:
            place = self.graph.nodes[index].owners[i]
            copy = self.arrays[place[0]][place[1]].copy()
            arrays = tuple(
                tuple(
                    copy.reshape(array.shape) if owner == place else array
                    for array, owner in zip(blobs, node.owners, strict=True)
                )
                for blobs, node in zip(self.arrays, self.graph.nodes, strict=True)
            )
            object.__setattr__(self, "arrays", arrays)  # the same numbers in other memory
        return self.arrays[index][i]

    def save(self, path: str | Path) -> None:
        """Write the net by its path's suffix: `.caffemodel`, `.h5`, `.npz` or `.prototxt`.

        Raises:
            CaffeCompatError: the suffix is none of these, or the file cannot be written.
        """
        save(self, path)

    @property
    def blobs(self) -> dict[str, Value]:
        """The last version of each blob by its Caffe name: `net.blobs["data"].shape`."""
        return {value.blob: value for value in self.graph.values}

    def blobs_of(self, index: int) -> dict[str, Array]:
        """Return the parameter blobs of a node by the names that its layer gives them."""
        return self.graph.nodes[index].named(self.arrays[index])

    def check(self) -> None:
        """Check that the files behind the parameters are unchanged.

        Raises:
            WeightsError: one was changed since it was opened. To read on would end the process.
        """
        mapped.check(array for arrays in self.arrays for array in arrays)

    def forward(self, feeds: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
        """Run every layer in numpy.

        Args:
            feeds: an array for each input, by its Caffe name, of the shape that the net was
                built for; or the array of the only input.

        Returns:
            Every blob as Caffe shows it after a run, by its Caffe name: the last version, and
            what a layer in place wrote to its memory under another name.

        Raises:
            ShapeError: an input is missing, unknown, or of another shape.
            UnsupportedError: a layer has no numpy forward pass.
        """
        values = self.run(feeds)
        left = left_in_memory(self.graph)
        return {
            value.blob: values[left[value.name]].reshape(value.shape)
            if value.name in left
            else values[value.name]
            for value in self.graph.values
        }

    def draw(self, rng: Rng, skip: Collection[int] = ()) -> dict[int, dict[str, Any]]:
        """Return the random numbers of one forward pass, layer by layer, as Caffe draws them.

        Args:
            rng: the random stream.
            skip: the indices of nodes that draw their own.
        """
        return self._of_layers(lambda node, shapes: node.layer.draw(rng, *shapes), skip)

    def state(self) -> dict[int, dict[str, Any]]:
        """Return what the first forward pass of a training starts from (LSTM)."""
        return self._of_layers(lambda node, shapes: node.layer.state(*shapes))

    def _of_layers(
        self,
        call: Callable[[Node, list[Shape]], dict[str, Array]],
        skip: Collection[int] = (),
    ) -> dict[int, dict[str, Any]]:
        results = (
            {} if index in skip else call(node, [value.shape for value in node.bottoms])
            for index, node in enumerate(self.graph.nodes)
        )
        return {index: arrays for index, arrays in enumerate(results) if arrays}

    def update(self, values: Mapping[str, Array], extra: Extra) -> dict[int, dict[str, Any]]:
        """Change the parameter blobs that a forward pass changes, in place.

        Args:
            values: from `run`.
            extra: what `run` was given, and what it kept.

        Returns:
            The state of the next pass; see `state`.
        """
        states: dict[int, dict[str, Any]] = {}
        for index, node in enumerate(self.graph.nodes):
            blobs = self.blobs_of(index)
            changed = node.layer.update(
                *(values[v.name] for v in node.bottoms), **blobs, **extra.get(index, {})
            )
            for name, array in changed.items():
                if name in blobs:
                    blobs[name][...] = array
                else:
                    states.setdefault(index, {})[name] = array
        return states

    def run(
        self,
        feeds: Mapping[str, ArrayLike] | ArrayLike,
        extra: Extra | None = None,
        keep: dict[int, dict[str, Any]] | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> dict[str, Array]:
        """Run like `forward`, and return every version of every blob, by `Value.name`.

        Args:
            feeds: as for `forward`.
            extra: the random numbers and states of a pass in TRAIN, from `draw` and `state`.
            keep: takes what `update` and `backward` would else compute again.
            watch: called with the index of each node that has run.
        """
        self.check()
        values = self.fed(feeds)
        require(self.graph.size, "the net's blobs")
        for index, node in enumerate(track(self.graph.nodes, "computing")):
            if len(node.layer.feeds()) == len(node.tops) and node.tops:
                continue
            x = [values[v.name] for v in node.bottoms]
            arrays = {**self.blobs_of(index), **(extra or {}).get(index, {})}
            with node.layer.named():
                if keep is None:
                    tops = node.layer.forward(*x, **arrays)
                else:
                    tops, keep[index] = node.layer.forward_keeping(*x, **arrays)
            outputs = tops if isinstance(tops, tuple) else (tops,)
            for i, (top, array) in enumerate(zip(node.tops, outputs, strict=True)):
                if i not in node.layer.feeds():
                    values[top.name] = array
            if watch:
                watch(index)
        return values

    def fed(self, feeds: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
        """Return the arrays that feed the net, by `Value.name`, in float32.

        Raises:
            ShapeError: an input is missing, unknown, or of another shape.
        """
        inputs = {value.blob: value for value in self.graph.inputs}
        feeds = by_name(feeds, list(inputs))
        values: dict[str, Array] = {}
        for name in feeds:
            if name not in inputs:
                raise ShapeError(f"the net has no input '{name}'; its inputs: {', '.join(inputs)}")
        for name, value in inputs.items():
            if name not in feeds:
                raise ShapeError(f"input '{name}' {value.shape} is not fed")
            array = as_array(name, feeds[name])
            if array.shape != value.shape:
                raise ShapeError(f"input '{name}' is {value.shape}, and was fed {array.shape}")
            values[value.name] = array.astype(np.float32, copy=False)
        return values

    def backward(
        self,
        values: Mapping[str, Array],
        diffs: Mapping[str, Array],
        extra: Extra | None = None,
        needs: Needs | None = None,
        watch: Watch | None = None,
        *,
        keep: bool = True,
    ) -> tuple[dict[str, Array], list[list[Array | None]]]:
        """Run every layer's backward pass in numpy, last to first.

        Args:
            values: the result of `run`.
            diffs: the gradients at some blobs, by Caffe name; a blob that has a loss weight and is
                not named here gets that weight.
            extra: what `run` was given, and what it kept.
            needs: what to compute; None: all.
            watch: called after each node, with its gradients.
            keep: False drops the gradient at a value once its layer has read it.

        Returns:
            The gradient at every value that a gradient reached, by `Value.name`; and the gradients
            of the parameter blobs, in the order of `arrays` (None: no gradient reached it). Those
            of a shared blob are summed, and every place that uses it has the sum.

        Raises:
            UnsupportedError: a layer has no backward pass.
        """
        self.check()
        grads = {self.graph.blob(blob).name: array for blob, array in diffs.items()}
        run = Backward(self.graph, self.arrays, values, extra or {}, needs)
        params = run.run(grads, watch, keep=keep)
        return grads, params
