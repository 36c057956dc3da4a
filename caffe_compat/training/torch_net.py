"""The torch module of a net in training, with what Caffe's memory and averages add to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..layers.layer import Layer
from ..net.graph import Graph, Node, Value
from ..net.needs import Needs
from ..net.net import Net
from ..net.sharing import Place
from ..torch.batch_norm import BatchNorm
from ..torch.build import build
from ..torch.drawing import Drawing
from ..torch.layers import CaffeLayer, Dropout
from ..torch.module import CaffeModule
from ..types import Array
from .carrying import expose
from .feeding import Extra
from .overwriting import overwritten, reading
from .torch_batch_norm import MovingSums


class Memory(Mapping[str, Array]):
    """The values of the last pass that a layer's gradient reads, by `Value.name`, as numpy's.

    Attributes:
        tensors: the values.
    """

    def __init__(self) -> None:
        self.tensors: Mapping[str, Tensor] = {}

    def __getitem__(self, name: str) -> Array:
        return to_numpy(self.tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def to_numpy(tensor: Tensor) -> Array:
    """Return a tensor's numbers in float32, on the CPU in its own memory."""
    array: Array = tensor.detach().to("cpu", torch.float32).numpy()
    return array


class TorchNet:
    """The torch module of a net in its phase, with tensors in the place of its parameters.

    Args:
        net: the net.
        outputs: what a call returns, by `Value.name`; what `memory` must have comes beside them.
        tensors: the parameter blobs that own their data, on the device.
        needs: which gradients are to be computed; None: none.
        memory: takes the values that gradients read where Caffe overwrote them.

    Attributes:
        module: the module.
        leaves: those of its parameters that get a gradient, by their places.
        in_numpy: the layers that numpy runs for the sake of their state or their gradient.
        dropouts: the places of the layers that can draw on the device.

    Raises:
        UnsupportedError: neither torch nor numpy can compute a layer.
    """

    def __init__(
        self,
        net: Net,
        outputs: Sequence[Value],
        tensors: Mapping[Place, Tensor],
        needs: Needs | None,
        memory: Memory,
    ) -> None:
        graph = net.graph
        exposed, self._carried = expose(net)
        special = {
            i: node.layer
            for i, node in enumerate(graph.nodes)
            if _has_state(node) and i not in self._carried
        }
        self._indicators = _indicators(graph, needs) if needs else []
        wanted = {value.name: value for value in outputs}
        for carried in self._carried.values():
            wanted |= {value.name: value for value in carried.leaving.values()}
        wanted |= {value.name: value for _, value in self._indicators}
        if needs:
            values = {value.name: value for value in (*graph.inputs, *graph.values)}
            for index in overwritten(graph, needs):
                node = graph.nodes[index]
                special[index] = reading(node, needs.left, memory)
                for value in (node.bottoms[0], node.tops[0]):
                    name = needs.left.get(value.name, value.name)
                    wanted[name] = values[name]
        self.in_numpy = [graph.nodes[index].layer for index in sorted(special)]
        self._names = list(wanted)
        self.module = build(
            exposed, [*wanted.values()], versions=True, in_numpy=special, tensors=tensors
        )
        self._device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
        self.module.to(self._device)
        self._left: dict[int, dict[str, Tensor]] = {}
        parameters = _adopt(self.module, graph, tensors)
        trained = _trained(graph, needs) if needs else set()
        for owner, parameter in parameters.items():
            parameter.requires_grad_(owner in trained)
        self.leaves = {owner: p for owner, p in parameters.items() if owner in trained}
        self._interleaves = _interleave(self.module) if self._device.type == "cpu" else False
        named = self.module.origin.parts.items()
        self._parts = {index: self.module.get_submodule(name) for index, name in named}
        parts = self._parts.items()
        self._drawing = {i: part for i, part in parts if isinstance(part, Drawing)}
        self._layers = [(i, part) for i, part in parts if isinstance(part, CaffeLayer)]
        self.dropouts = [i for i, part in self._parts.items() if type(part) is Dropout]

    def __call__(self, inputs: Mapping[str, Tensor], extra: Extra) -> dict[str, Tensor]:
        """Return the outputs by `Value.name`.

        Args:
            inputs: by blob.
            extra: the numbers that layers draw and the state that they go on from; see `Net.run`.
        """
        for index, part in self._drawing.items():
            part.numbers = extra.get(index)
        for index, layer in self._layers:
            layer.numbers = extra.get(index, {})
        states = {
            value.blob: torch.from_numpy(extra[index][name])[None].to(self._device)
            for index, carried in self._carried.items()
            for name, value in carried.entering.items()
        }
        inputs = {**inputs, **states}
        tensors = [inputs[blob] for blob in self.module.names.inputs.values()]
        if self._interleaves:
            tensors = [_interleaved(x) if x.ndim == 4 else x for x in tensors]
        results = self.module.forward(*tensors)  # its inputs are checked, and lie in no file
        results = {self._names[0]: results} if isinstance(results, Tensor) else results
        self._check_indicators(results)
        self._left = {
            index: {name: results[value.name][0] for name, value in carried.leaving.items()}
            for index, carried in self._carried.items()
        }
        return results

    def _check_indicators(self, values: Mapping[str, Tensor]) -> None:
        """Raise where Caffe's gradient is not the derivative."""
        for layer, value in self._indicators:
            x = values[value.name]
            if torch.is_grad_enabled() and not ((x == 0) | (x == 1)).all():
                with layer.named():
                    raise UnsupportedError(
                        f"'{value.blob}' has values other than 0 and 1; engine='numpy' trains that",
                        remedies=("engine",),
                    )

    def states(self) -> dict[int, dict[str, Any]]:
        """Return what the last pass left to the next, by the layers' places."""
        states = {i: dict(part.states) for i, part in self._layers}
        for index, tensors in self._left.items():
            states[index] = {name: to_numpy(tensor) for name, tensor in tensors.items()}
        return {index: arrays for index, arrays in sorted(states.items()) if arrays}

    def hold(self) -> None:
        """Let no pass move the averages of BatchNorm any more."""
        for part in self._parts.values():
            if isinstance(part, MovingSums):
                part.moves = False


def _interleave(module: nn.Module) -> bool:
    """Let an image's channels lie beside each other, as oneDNN convolves fastest on a CPU.

    A convolution keeps the order of its input. An image of one channel has none, so its convolution
    starts one.

    Returns:
        Whether there is anything to gain.
    """
    if not torch.backends.mkldnn.enabled:
        return False
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    for part in convolutions:
        if part.in_channels == 1:
            part.register_forward_hook(lambda part, inputs, y: _interleaved(y))
    return bool(convolutions)


def _interleaved(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _has_state(node: Node) -> bool:
    return bool(node.layer.state(*(value.shape for value in node.bottoms)))


def _indicators(graph: Graph, needs: Needs) -> list[tuple[Layer, Value]]:
    """Return the bottoms that must be 0 or 1 for a gradient, each with its layer."""
    return [
        (node.layer, node.bottoms[i])
        for node, runs in zip(graph.nodes, needs.runs, strict=True)
        for i in node.layer.indicators
        if runs and i < len(node.bottoms)
    ]


def _adopt(
    module: CaffeModule, graph: Graph, tensors: Mapping[Place, Tensor]
) -> dict[Place, nn.Parameter]:
    """Let the parameters and buffers of a module be these tensors; return the parameters."""
    parts = module.origin.parts
    for index, name in parts.items():
        if isinstance(module.get_submodule(name), BatchNorm):
            node = graph.nodes[index]
            sums = MovingSums(node.layer, [tensors[owner] for owner in node.owners])
            setattr(module, name, sums.train(module.training))
    held = module.state_dict(keep_vars=True)
    parameters: dict[Place, nn.Parameter] = {}
    for key, (index, blob) in module.origin.places.items():
        if key not in held:  # BatchNorm's averages
            continue
        owner = graph.nodes[index].owners[blob]
        held[key].data = tensors[owner].view(held[key].shape)
        if isinstance(held[key], nn.Parameter):
            parameters[owner] = held[key]
    return parameters


def _trained(graph: Graph, needs: Needs) -> set[Place]:
    """Return the places of the parameters that get a gradient.

    Raises:
        UnsupportedError: layers share one that some of them train and others do not.
    """
    wanted = {
        owner
        for index, node in enumerate(graph.nodes)
        for i, owner in enumerate(node.owners)
        if needs.runs[index] and needs.blobs[index][i]
    }
    for index, node in enumerate(graph.nodes):
        for i, owner in enumerate(node.owners):
            if owner in wanted and not needs.blobs[index][i]:
                with node.layer.named():
                    raise UnsupportedError(
                        f"'{node.blobs[i].name}' is shared, and has lr_mult 0 here alone; "
                        "engine='numpy' trains it",
                        remedies=("engine",),
                    )
    return wanted
