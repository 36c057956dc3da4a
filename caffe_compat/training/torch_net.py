"""The torch module of a net in training, with what Caffe's memory and averages add to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..layers.layer import Layer
from ..net.graph import Graph, Node, Value
from ..net.needs import Needs
from ..net.net import Net, left_of
from ..net.sharing import Place
from ..torch.batch_norm import BatchNorm
from ..torch.build import build
from ..torch.drawing import Drawing
from ..torch.layers import CaffeLayer, Dropout
from ..torch.module import CaffeModule
from ..types import Array
from .feeding import Extra
from .torch_batch_norm import MovingSums

# Layers that compute their gradient from the top alone, or from what it has kept.
_OF_TOP = frozenset(("ELU", "Exp", "ReLU", "ReLU6", "Sigmoid", "Softmax", "Swish", "TanH"))


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
        special = {i: node.layer for i, node in enumerate(graph.nodes) if _has_state(node)}
        wanted = {value.name: value for value in outputs}
        if needs:
            values = {value.name: value for value in (*graph.inputs, *graph.values)}
            for index in _overwritten(graph, needs):
                node = graph.nodes[index]
                special[index] = _reading(node, needs.left, memory)
                for value in (node.bottoms[0], node.tops[0]):
                    name = needs.left.get(value.name, value.name)
                    wanted[name] = values[name]
        self.in_numpy = [graph.nodes[index].layer for index in sorted(special)]
        self._names = list(wanted)
        self.module = build(net, [*wanted.values()], versions=True, in_numpy=special)
        self.module.to(next(iter(tensors.values())).device if tensors else None)
        parameters = _adopt(self.module, graph, tensors)
        trained = _trained(graph, needs) if needs else set()
        for owner, parameter in parameters.items():
            parameter.requires_grad_(owner in trained)
        self.leaves = {owner: p for owner, p in parameters.items() if owner in trained}
        self._interleaves = _interleave(self.module) if _on_cpu(tensors) else False
        named = self.module.origin.parts.items()
        self._parts = {index: self.module.get_submodule(name) for index, name in named}
        self.dropouts = [i for i, part in self._parts.items() if type(part) is Dropout]

    def __call__(self, inputs: Mapping[str, Tensor], extra: Extra) -> dict[str, Tensor]:
        """Return the outputs by `Value.name`.

        Args:
            inputs: by blob.
            extra: the numbers that layers draw and the state that they go on from; see `Net.run`.
        """
        for index, part in self._parts.items():
            if isinstance(part, CaffeLayer):
                part.numbers = extra.get(index, {})
            elif isinstance(part, Drawing):
                part.numbers = extra.get(index)
        tensors = [inputs[blob] for blob in self.module.names.inputs.values()]
        if self._interleaves:
            tensors = [_interleaved(x) if x.ndim == 4 else x for x in tensors]
        results = self.module(*tensors)
        return {self._names[0]: results} if isinstance(results, Tensor) else results

    def states(self) -> dict[int, dict[str, Any]]:
        """Return what the last pass left to the next, by the layers' places."""
        found = {i: part.states for i, part in self._parts.items() if isinstance(part, CaffeLayer)}
        return {i: dict(arrays) for i, arrays in found.items() if arrays}

    def hold(self) -> None:
        """Let no pass move the averages of BatchNorm any more."""
        for part in self._parts.values():
            if isinstance(part, MovingSums):
                part.moves = False


def _on_cpu(tensors: Mapping[Place, Tensor]) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors.values())


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


def _overwritten(graph: Graph, needs: Needs) -> list[int]:
    """Return the layers whose gradient is not the derivative, since Caffe overwrote what it reads.

    Where nothing but the layer itself wrote to its top, those that read the top alone are as
    exact as ever. So is a ReLU before a Dropout in place: what is dropped gets no gradient.
    """
    writers: dict[str, list[str]] = {}  # the types that wrote to each value's memory behind it
    for node in graph.nodes:
        if node.inplace:
            for name, kinds in writers.items():
                if needs.left.get(name) == needs.left.get(node.bottoms[0].name):
                    kinds.append(node.layer.type)
        writers.update({top.name: [] for top in node.tops})
    found = []
    for index, node in enumerate(graph.nodes):
        special = type(node.layer).backward_left is not Layer.backward_left
        if not (special and needs.runs[index] and node.bottoms and node.tops):
            continue
        bottom, top = node.bottoms[0].name, node.tops[0].name
        if bottom not in needs.left and top not in needs.left:
            continue
        kind, later = node.layer.type, writers[top] if top in needs.left else []
        slopes = (getattr(node.layer.p, name, 0.0) for name in ("negative_slope", "alpha"))
        rising = node.layer.p is None or all(slope >= 0 for slope in slopes)
        drops = kind == "ReLU" and set(later) <= {"Dropout"} and node.layer.p.negative_slope == 0
        if not (kind in _OF_TOP and rising and ((top not in needs.left) or drops)):
            found.append(index)
    return found


def _reading(node: Node, left: Mapping[str, str], memory: Memory) -> Layer:
    """Return a layer whose gradient is Caffe's, from what is left in its memory."""
    layer = copy.copy(node.layer)

    def backward(dy: Any, *x: Array, **arrays: Any) -> Any:
        pair = left_of(node, memory, left)
        assert pair is not None
        return node.layer.backward_left(dy, *x, left=pair[0], y=pair[1], **arrays)

    layer.backward = backward  # type: ignore[method-assign]
    return layer
