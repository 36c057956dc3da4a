"""Live nets as a solver runs them: see `training.engine` and `training.nets`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..prototxt.phase import select
from ..prototxt.splits import insert_splits
from ..prototxt.upgrade import upgrade
from ..training.blocks import Block, Learnable, cut
from ..training.debug import total
from ..training.engine import Pass
from ..training.large import Early
from ..training.parameters import NetSource
from ..types import Array
from ..weights.trained import Weights
from . import feeding, storage, wiring
from .blob import Blob
from .debug import DebugLog
from .net import Net


class LiveEngine:
    """A live net as the solver runs it; see `training.engine.Engine`.

    Args:
        net: the net.
        source: the train net whose parameters a test net shares.
    """

    changes, updates_early = None, False

    def __init__(self, net: Net, source: Net | None = None) -> None:
        self.live, self._source = net, source
        self._parts = net._wiring
        self._blobs: list[Blob] = []
        self.learnables: list[Learnable] = []
        for index, (step, places) in enumerate(
            zip(self._parts.steps, self._parts.owners, strict=True)
        ):
            for i, place in enumerate(places):
                if place == (index, i):
                    self._blobs.append(step.blobs[i])
                    self.learnables.append(
                        Learnable(
                            step.proto.name,
                            str(i),
                            wiring.multiplier(self._parts, place, "lr_mult"),
                            wiring.multiplier(self._parts, place, "decay_mult"),
                        )
                    )

    @property
    def name(self) -> str:
        """The net's name."""
        return self._parts.net.name

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The loss weights that are not 0, by blob."""
        return {name: w for name, w in self.live.blob_loss_weights.items() if w}

    @property
    def params(self) -> Sequence[Array]:
        """The data of `learnables`."""
        return [blob.data for blob in self._blobs]

    @property
    def grads(self) -> Sequence[Array]:
        """Their gradients."""
        return [blob.diff for blob in self._blobs]

    def clear(self) -> None:
        """Set the gradients to zero."""
        for grad in self.grads:
            grad[...] = 0

    def forward(self, debug: Callable[[str], None] | None = None) -> Pass:
        """Run the net on its next batch."""
        if self._source is not None:
            storage.share(self._parts, self._source._wiring)
        self.live._engine.debug = DebugLog(self._parts, debug) if debug else None
        loss = self.live._forward(0, len(self._parts.steps) - 1)
        return Pass(loss, {name: self.live.blobs[name].data for name in self.live.outputs})

    def forward_backward(
        self, debug: Callable[[str], None] | None = None, early: Early | None = None
    ) -> Pass:
        """Run the net on its next batch, and add the gradients of its loss; no update is early."""
        done = self.forward(debug)
        self.live._backward(len(self._parts.steps) - 1, 0)
        if debug:
            debug(total(self.params, self.grads))
        return done

    def first_not_finite(self) -> str | None:
        """Return the name of the first layer with a top that is not finite."""
        for step in self._parts.steps:
            if not all(np.isfinite(top.data).all() for top in step.tops):
                return step.proto.name
        return None

    def net(self) -> Any:
        """Return the live net."""
        return self.live

    def load(self, weights: Weights) -> None:
        """Copy the blobs of a weights file, by layer name."""
        storage.copy_from(self._parts, weights)

    def save(self, path: Path, *, diffs: bool) -> None:
        """Write a weights file, with the gradients or not."""
        if path.suffix == ".h5":
            storage.save_hdf5(self._parts, str(path), diffs=diffs)
        else:
            storage.save(self._parts, str(path), diffs=diffs)

    def array(self, array: Array) -> Array:
        """Return a numpy array as it is."""
        return array

    def numpy(self, array: Array) -> Array:
        """Return an array as it is."""
        return array

    def blocks(self, history: Sequence[Array], skip: Collection[int] = ()) -> Iterator[Block]:
        """Yield the parameters in blocks; see `training.engine.Engine`."""
        return cut(self.learnables, self.params, self.grads, history, skip)

    def state(self) -> bytes:
        """Return the place of its readers and what one pass leaves to the next."""
        return feeding.state(self._parts.steps)

    def restore(self, state: bytes) -> None:
        """Go to where `state` was.

        Raises:
            WeightsError: it is not a state of this net.
        """
        feeding.restore(self._parts.steps, state)


class LiveNets:
    """Makes the nets of a solver; see `training.nets.Nets`.

    Args:
        weights: weights files to load into the train net.
    """

    def __init__(self, weights: Sequence[str]) -> None:
        self._weights = [name.strip() for each in weights for name in each.split(",")]
        self.engines: list[LiveEngine] = []

    def train(self, source: NetSource) -> Any:
        """Return the engine of the train net."""
        return self._engine(source, None)

    def test(self, index: int, source: NetSource) -> Any:
        """Return the engine of a test net, which shares the train net's parameters."""
        return self._engine(source, self.engines[0].live)

    def _engine(self, source: NetSource, train: Net | None) -> LiveEngine:
        state = source.net.state
        chosen = select(upgrade(source.net), state.phase, state.level)
        net = Net.__new__(Net)
        net._start(wiring.connect(wiring.with_phase(insert_splits(chosen))))
        for name in self._weights:
            net.copy_from(name)
        self.engines.append(LiveEngine(net, train))
        return self.engines[-1]
