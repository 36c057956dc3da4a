"""The fast engine: a net's torch module, on a CPU or a GPU."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..fillers.rng import FastRng
from ..net import saving
from ..net.graph import Graph, Value
from ..net.needs import needs
from ..net.net import Net
from ..net.params import match_weights
from ..net.sharing import Place
from ..types import Array
from ..weights.trained import Weights
from .blocks import Block, cut
from .debug import BackwardLog, log_forward, total
from .engine import Pass, learnables, loss_weights, owned, owning, rewritten, share
from .feeding import Extra, Feeder, Feeds
from .large import Early, updating
from .log import Write
from .outputs import Outputs
from .torch_blocks import bundle
from .torch_modules import replace
from .torch_net import Memory, TorchNet, to_numpy
from .torch_setting import Setting

_log = logging.getLogger("caffe_compat")
_MARK = b"torch's stream"  # stands before it in a state


class TorchEngine:
    """A net that torch runs; see `Engine`.

    On a CPU its parameters are the memory of the arrays of `net()`.

    Args:
        net: the net with its weights, which are the engine's from now on.
        feeder: what it is fed.
        setting: how.
        source: the train net's engine, whose blobs a test net shares by layer name.
    """

    def __init__(
        self, net: Net, feeder: Feeder, setting: Setting, source: TorchEngine | None = None
    ) -> None:
        graph = net.graph
        arrays, tensors = source._shared_with(graph) if source else ({}, {})
        self._net: Net
        self._net, own = owning(net, arrays)
        self._setting, self._device = setting, setting.place
        self._places = owned(graph)
        self._tensors = {
            place: tensors[place] if place in tensors else self.array(own[place])
            for place in self._places
        }
        self._feeder, self._memory = feeder, Memory()
        self._needs = needs(graph) if source is None else None
        weighted = (
            (top, weight)
            for node in graph.nodes
            for top, weight in zip(node.tops, node.loss_weights, strict=True)
        )
        self._losses = [(top, weight) for top, weight in weighted if weight]
        self._files = Outputs(graph)
        losses = (top for top, _ in self._losses)
        outputs = [*graph.outputs, *losses, *self._files.values]
        self._run = self._make(outputs)
        trained = self._places if source is None else ()
        module = self._run.module
        self._products = [] if setting.amp else replace(module, self._device, trained)
        self.changes: dict[int, Tensor] = {}
        self.updates_early = bool(self._products)
        self._leaves = self._run.leaves
        self._rewritten = rewritten(graph)
        for layer in self._run.in_numpy:
            _log.warning("layer '%s' (%s) runs in numpy, on the CPU", layer.name, layer.type)
        self._last: tuple[dict[str, Tensor], Extra] = {}, {}
        self._fed: tuple[Feeds, Extra] = {}, {}
        self.name = graph.net.name
        self.learnables = learnables(graph)
        self.loss_weights = loss_weights(graph)
        self.params = [self._tensors[place] for place in self._places]
        self._zeros = {
            place: torch.zeros_like(self._tensors[place])
            for place in self._places
            if place not in self._leaves and source is None
        }

    def _make(self, outputs: Sequence[Value]) -> TorchNet:
        return TorchNet(self._net, outputs, self._tensors, self._needs, self._memory)

    def _shared_with(self, graph: Graph) -> tuple[dict[Place, Array], dict[Place, Tensor]]:
        """Return the arrays and the tensors that a test net takes from this one."""
        own = self._net.graph
        tensors = [
            [
                self._tensors[owner].view(blob.shape)
                for owner, blob in zip(node.owners, node.blobs, strict=True)
            ]
            for node in own.nodes
        ]
        return share(own, self._net.arrays, graph), share(own, tensors, graph)

    def tester(self, net: Net, feeder: Feeder) -> TorchEngine:
        """Return an engine for a test net that shares this one's blobs by layer name.

        Raises:
            ShapeError: a layer of the same name has blobs of other shapes.
        """
        return TorchEngine(net, feeder, self._setting, self)

    @property
    def grads(self) -> list[Tensor]:
        """The gradients of `params` since `clear`; after an update what it subtracted."""
        return [self._grad(i) for i in range(len(self._places))]

    def _grad(self, i: int) -> Tensor:
        if i in self.changes:
            return self.changes[i]
        place = self._places[i]
        if place in self._zeros:
            return self._zeros[place]
        leaf = self._leaves[place]
        if leaf.grad is None:
            leaf.grad = torch.zeros_like(leaf)
        shape = self._tensors[place].shape
        return leaf.grad if leaf.grad.shape == shape else leaf.grad.view(shape)

    def clear(self) -> None:
        """Set the gradients to zero."""
        self.changes.clear()
        self._forget(self._leaves)
        for zeros in self._zeros.values():
            zeros.zero_()

    def _forget(self, places: Iterable[Place]) -> None:
        for place in places:
            if place in self._leaves:
                self._leaves[place].grad = None

    def blocks(self, history: Sequence[Tensor], skip: Collection[int] = ()) -> Iterator[Block]:
        """Yield the parameters in blocks: for a CPU's cache, or for few calls to a GPU."""
        for i in [*self.changes]:  # history, which its own update would change on the way
            change = self.changes.pop(i)
            self._grad(i).copy_(change)
        split = cut if self._device.type == "cpu" else bundle
        grads = [None if i in skip else self._grad(i) for i in range(len(self.params))]
        return split(self.learnables, self.params, grads, history, skip)

    def net(self) -> Net:
        """Return the net with its weights as they are."""
        if self._device.type != "cpu":
            for (index, i), tensor in self._tensors.items():
                self._net.arrays[index][i][...] = to_numpy(tensor).reshape(
                    self._net.arrays[index][i].shape
                )
        return self._net

    def load(self, weights: Weights) -> None:
        """Copy the blobs of a weights file into `params`, by layer name.

        Raises:
            WeightsError: the file is damaged or does not fit.
        """
        blobs, _ = match_weights(self._net.graph, weights)
        for place, array in blobs.items():
            own = self._tensors[place]
            own.copy_(torch.from_numpy(np.array(array, np.float32)).view(own.shape))

    def save(self, path: Path, *, diffs: bool) -> None:
        """Write a weights file, with the gradients or not."""
        grads = dict(zip(self._places, map(to_numpy, self.grads), strict=True)) if diffs else None
        saving.save(self.net(), path, grads)

    def array(self, array: Array) -> Tensor:
        """Return a numpy array as a tensor on the device; on a CPU in the same memory."""
        own = np.require(array, np.float32, ["C", "W"])
        return torch.from_numpy(own).to(self._device)

    def numpy(self, array: Tensor) -> Array:
        """Return a tensor as a numpy array; on a CPU in the same memory."""
        return to_numpy(array)

    def state(self) -> bytes:
        """Return the places of its reader and of torch's stream, and what a pass leaves."""
        drawn = _MARK + self._setting.stream().numpy().tobytes() if self._setting.draws else b""
        return self._feeder.state() + drawn

    def restore(self, state: bytes) -> None:
        """Go to where `state` was.

        Raises:
            WeightsError: it is not a state of this net.
        """
        place, mark, stream = state.partition(_MARK)
        self._feeder.restore(place)
        if mark and self._setting.draws:
            self._setting.set_stream(torch.frombuffer(bytearray(stream), dtype=torch.uint8))

    def forward(self, debug: Write | None = None) -> Pass:
        """Run the net on its next batch."""
        with self._worded(), torch.no_grad(), self._setting.precision():
            tensors = self._pass(debug)
            loss = float(self._loss(tensors))
        return Pass(loss, self._outputs(tensors))

    def forward_backward(self, debug: Write | None = None, early: Early | None = None) -> Pass:
        """Run the net on its next batch, and add the gradients of its loss to `grads`."""
        if debug:
            return self._backward_in_numpy(debug)
        with self._worded(), self._setting.precision():
            tensors = self._pass(None)
            loss = self._loss(tensors)
            if loss.requires_grad:
                self._forget(self._rewritten)
                early = early if early and math.isfinite(float(loss.detach())) else None
                with updating(self._products, early):
                    torch.autograd.backward(loss)
            number = float(loss.detach())
        return Pass(number, self._outputs(tensors))

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        """Let numpy find what is wrong where torch read outside a tensor, and say where."""
        try:
            yield
        except (RuntimeError, IndexError) as error:
            if "out of bounds" in str(error) or "device-side assert" in str(error):
                feeds, extra = self._fed
                self._net.run(feeds, {**self._net.draw(FastRng(0)), **extra})
            raise

    def first_not_finite(self) -> str | None:
        """Return the name of the first layer of the last pass with a top that is not finite."""
        self._watched.hold()
        with torch.no_grad(), self._setting.precision():
            tensors = self._watched(*self._last)
        for node in self._net.graph.nodes:
            tops = (tensors[top.name] for top in node.tops)
            if not all(torch.isfinite(top).all() for top in tops):
                return node.layer.name
        return None

    @cached_property
    def _watched(self) -> TorchNet:
        """The same net with every value as an output."""
        return self._make([*self._net.graph.inputs, *self._net.graph.values])

    def _pass(self, debug: Write | None) -> dict[str, Tensor]:
        """Run the net on its next batch; with `debug` every value is returned."""
        own = self._run.dropouts if self._setting.draws and not debug else ()
        feeds, extra = self._feeder.next(own)
        feeds = {name: np.asarray(array, np.float32) for name, array in feeds.items()}
        arrays, self._fed = self._net.fed(feeds), (feeds, extra)
        blobs = {value.name: value.blob for value in self._net.graph.inputs}
        self._last = {blobs[name]: self.array(array) for name, array in arrays.items()}, extra
        run = self._watched if debug else self._run
        tensors = run(*self._last)
        self._files.write({v.name: to_numpy(tensors[v.name]) for v in self._files.values})
        self._memory.tensors = tensors
        self._feeder.states = run.states()
        if debug:
            values = {name: to_numpy(tensor) for name, tensor in tensors.items()}
            log_forward(self.net(), values, debug)
        return tensors

    def _backward_in_numpy(self, debug: Write) -> Pass:
        """Run the net, and each layer's backward pass by itself, as `debug_info` shows it."""
        with torch.no_grad(), self._setting.precision():
            tensors = self._pass(debug)
            loss = self._loss(tensors)
        net, extra = self.net(), self._last[1]
        values = {name: to_numpy(tensor) for name, tensor in tensors.items()}
        before = {p: to_numpy(g) for p, g in zip(self._places, self.grads, strict=True)}
        assert self._needs is not None
        watch = BackwardLog(net, self._needs, before, debug)
        _, grads = net.backward(values, {}, extra, self._needs, watch)
        self._forget(self._rewritten)
        for sums, (index, i) in zip(self.grads, self._places, strict=True):
            grad = grads[index][i]
            if grad is not None:
                sums += self.array(grad).view(sums.shape)
        own = [net.arrays[index][i] for index, i in self._places]
        debug(total(own, [to_numpy(g) for g in self.grads]))
        return Pass(float(loss.detach()), self._outputs(tensors))

    def _loss(self, tensors: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for top, weight in self._losses:
            part = tensors[top.name].float()
            part = part.sum() if part.ndim else part
            parts.append(part if weight == 1 else weight * part)
        return functools.reduce(torch.add, parts) if parts else torch.zeros(())

    def _outputs(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Array]:
        outputs = Memory()
        outputs.tensors = {v.blob: tensors[v.name].detach() for v in self._net.graph.outputs}
        return outputs
