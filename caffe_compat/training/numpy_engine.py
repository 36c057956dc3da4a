"""The reference engine: the forward and backward passes that layers state in numpy."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..net import saving
from ..net.needs import needs
from ..net.net import Net
from ..net.params import match_weights
from ..net.sharing import Place
from ..types import Array
from ..weights.trained import Weights
from .blocks import Block, cut
from .debug import BackwardLog, log_forward, total
from .engine import Pass, learnables, loss_weights, owned, owning, rewritten, share
from .feeding import Feeder
from .large import Early, updating
from .log import Write
from .numpy_products import streaming
from .outputs import Outputs


class NumpyEngine:
    """A net that numpy runs; see `Engine`.

    Args:
        net: the net with its weights, which are the engine's from now on.
        feeder: what it is fed.
        shared: arrays to use as they are, by (layer, blob) place.
    """

    def __init__(self, net: Net, feeder: Feeder, shared: Mapping[Place, Array] | None = None):
        graph = net.graph
        self._places = owned(graph)
        self._net, own = owning(net, shared)
        self._feeder = feeder
        self._needs = needs(graph)
        self._rewritten = rewritten(graph)
        self._files = Outputs(graph)
        self._streaming, self._products = streaming(self._net, self._places, self._needs)
        self._values: dict[str, Array] = {}
        self.name = graph.net.name
        self.learnables = learnables(graph)
        self.loss_weights = loss_weights(graph)
        self.params = [own[place] for place in self._places]
        self._sums: list[Array | None] = [None] * len(self.params)
        self.changes: dict[int, Array] = {}
        self.updates_early = bool(self._products)

    def tester(self, net: Net, feeder: Feeder) -> NumpyEngine:
        """Return an engine for a test net that shares this one's blobs by layer name.

        Raises:
            ShapeError: a layer of the same name has blobs of other shapes.
        """
        return NumpyEngine(net, feeder, share(self._net.graph, self._net.arrays, net.graph))

    def net(self) -> Net:
        """Return the net; its arrays are the engine's own."""
        return self._net

    def load(self, weights: Weights) -> None:
        """Copy the blobs of a weights file into `params`, by layer name.

        Raises:
            WeightsError: the file is damaged or does not fit.
        """
        blobs, _ = match_weights(self._net.graph, weights)
        for (index, i), array in blobs.items():
            self._net.arrays[index][i][...] = array

    def save(self, path: Path, *, diffs: bool) -> None:
        """Write a weights file, with the gradients or not."""
        grads = dict(zip(self._places, self.grads, strict=True)) if diffs else None
        saving.save(self._net, path, grads)

    def array(self, array: Array) -> Array:
        """Return a numpy array as it is."""
        return array

    def numpy(self, array: Array) -> Array:
        """Return an array as it is."""
        return array

    def state(self) -> bytes:
        """Return the place of its reader and what one pass leaves to the next."""
        return self._feeder.state()

    def restore(self, state: bytes) -> None:
        """Go to where `state` was.

        Raises:
            WeightsError: it is not a state of this net.
        """
        self._feeder.restore(state)

    def first_not_finite(self) -> str | None:
        """Return the name of the first layer of the last pass with a top that is not finite."""
        for node in self._net.graph.nodes:
            if not all(np.isfinite(self._values[top.name]).all() for top in node.tops):
                return node.layer.name
        return None

    @property
    def grads(self) -> list[Array]:
        """The gradients of `params` since `clear`; after an update what it subtracted."""
        return [self._grad(i) for i in range(len(self.params))]

    def _grad(self, i: int) -> Array:
        if i in self.changes:
            return self.changes[i]
        total = self._sums[i]
        if total is None:
            total = self._sums[i] = np.zeros_like(self.params[i])
        return total

    def blocks(self, history: Sequence[Array], skip: Collection[int] = ()) -> Iterator[Block]:
        """Yield the parameters in blocks; see `cut`."""
        for i in [*self.changes]:  # history, which its own update would change on the way
            self._sums[i] = self.changes.pop(i).copy()
        grads = [None if i in skip else self._grad(i) for i in range(len(self.params))]
        return cut(self.learnables, self.params, grads, history, skip)

    def clear(self) -> None:
        """Set the gradients to zero, and free their memory."""
        self._sums = [None] * len(self.params)
        self.changes.clear()

    @np.errstate(all="ignore")  # the solver says that a loss is not finite
    def forward(self, debug: Write | None = None) -> Pass:
        """Run the net on its next batch."""
        values, _ = self._run(debug)
        return self._pass(values)

    @np.errstate(all="ignore")  # likewise
    def forward_backward(self, debug: Write | None = None, early: Early | None = None) -> Pass:
        """Run the net on its next batch, and add the gradients of its loss to `grads`."""
        values, extra = self._run(debug)
        result = self._pass(values)
        watch = None
        if debug:
            before = dict(zip(self._places, self.grads, strict=True))
            watch = BackwardLog(self._net, self._needs, before, debug)
        net = self._streaming if early else self._net
        with updating(self._products, early if math.isfinite(result.loss) else None):
            _, grads = net.backward(values, {}, extra, self._needs, watch, keep=False)
        self._add([grads[index][i] for index, i in self._places], values)
        if debug:
            debug(total(self.params, self.grads))
        return result

    def _add(self, grads: Sequence[Array | None], values: Mapping[str, Array]) -> None:
        """Add to the gradients; the first arrays since `clear` take their places where they can."""
        shared = {id(_owner(array)) for array in values.values()}
        for i, grad in enumerate(grads):
            if grad is None:
                continue
            total = None if self._places[i] in self._rewritten else self._sums[i]
            if total is not None:
                total += grad.reshape(total.shape)
                continue
            owner = _owner(grad)
            alone = id(owner) not in shared and getattr(owner, "size", 0) == grad.size
            shared.add(id(owner))
            own = np.require(grad, np.float32, ["C", "W"]) if alone else np.array(grad, np.float32)
            self._sums[i] = own.reshape(self.params[i].shape)

    def _run(self, debug: Write | None) -> tuple[dict[str, Array], dict[int, dict[str, Any]]]:
        feeds, extra = self._feeder.next()
        kept: dict[int, dict[str, Any]] = {}
        # The last values stay until these are there: freed before, their memory would go back to
        # the system, and come anew page by page.
        self._values = values = self._net.run(feeds, extra, kept)
        self._files.write(values)
        extra = {i: {**extra.get(i, {}), **kept.get(i, {})} for i in extra.keys() | kept.keys()}
        self._feeder.states = self._net.update(values, extra)
        if debug:
            log_forward(self._net, values, debug)
        return values, extra

    def _pass(self, values: dict[str, Array]) -> Pass:
        loss = np.float32(0)
        for node in self._net.graph.nodes:
            for top, weight in zip(node.tops, node.loss_weights, strict=True):
                if weight:
                    loss += np.float32(weight) * values[top.name].sum(dtype=np.float32)
        outputs = {value.blob: values[value.name] for value in self._net.graph.outputs}
        return Pass(float(loss), outputs)


def _owner(array: Array) -> Any:
    """Return what has the memory of an array."""
    return array if array.base is None else array.base
