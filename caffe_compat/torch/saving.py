"""From a torch module back to a net, and its parameters by Caffe's multipliers."""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..caffe_pb2 import NetParameter, ParamSpec
from ..errors import WeightsError
from ..layers.layer import Layer
from ..net.build import connect
from ..net.graph import Graph
from ..net.net import Net
from ..net.sharing import Place
from ..types import Array, Shape
from .batch_norm import BatchNorm
from .origin import Origin


def parameter_groups(
    module: nn.Module, origin: Origin, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return what `CaffeModule.parameter_groups` does."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for key, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[_multipliers(origin, key)].append(parameter)
    return [
        {"params": parameters, "lr": lr * rate, "weight_decay": weight_decay * decay}
        for (rate, decay), parameters in groups.items()
    ]


def _multipliers(origin: Origin, key: str) -> tuple[float, float]:
    """Return a parameter's lr_mult and decay_mult."""
    if key not in origin.places:  # of a module that is not Caffe's
        return 1.0, 1.0
    index, blob = origin.places[key]
    layer = origin.graph.nodes[index].layer
    spec = spec_of(layer, blob)
    if layer.type == "PReLU" and not spec.HasField("decay_mult"):
        return spec.lr_mult, 0.0
    return spec.lr_mult, spec.decay_mult


def spec_of(layer: Layer, blob: int) -> ParamSpec:
    """Return what the prototxt says of a parameter blob."""
    return layer.proto.param[blob] if blob < len(layer.proto.param) else ParamSpec()


def to_net(module: nn.Module, origin: Origin) -> Net:
    """Return what `CaffeModule.to_net` does."""
    tensors = module.state_dict(keep_vars=True)
    found: dict[Place, Array] = dict(origin.others)
    for key, place in origin.places.items():
        if key not in tensors:
            layer = origin.graph.nodes[place[0]].layer.name
            raise WeightsError(f"layer '{layer}': the module has no '{key}' any more")
        found[place] = _array(module, key, tensors[key])
    graph = _resized(origin.graph, {place: array.shape for place, array in found.items()})
    arrays = []
    for index, node in enumerate(graph.nodes):
        own = []
        for i, blob in enumerate(node.blobs):
            array = found[index, i]
            if array.size != prod(blob.shape):
                raise WeightsError(
                    f"layer '{node.layer.name}': {blob.name} is {array.shape} in the module, and "
                    f"{blob.shape} in the net"
                )
            own.append(array.reshape(blob.shape))
        arrays.append(tuple(own))
    return Net(graph, tuple(arrays))


def _array(module: nn.Module, key: str, tensor: Tensor) -> Array:
    """Return a parameter or buffer as Caffe's blob, of which BatchNorm's averages are sums."""
    path, _, name = key.rpartition(".")
    owner = module.get_submodule(path)
    if isinstance(owner, BatchNorm) and name != "factor":
        tensor = tensor * owner.factor.to(tensor)
    return np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")


def _resized(graph: Graph, shapes: dict[Place, Shape]) -> Graph:
    """Return the graph with the num_output of every layer whose weights have other rows now."""
    layers, changed = [], False
    for index, node in enumerate(graph.nodes):
        layer = node.layer
        if layer.type in ("InnerProduct", "Convolution") and node.blobs:
            shape, before = shapes[index, 0], node.blobs[0].shape
            other = prod(shape) != prod(before) and shape[1:] == before[1:]
            if other and not getattr(layer.p, "transpose", False):
                layer, changed = _with_outputs(layer, shape[0]), True
        layers.append(layer)
    if not changed:
        return graph
    net = NetParameter()
    net.CopyFrom(graph.net)
    del net.layer[:]
    net.layer.extend(layer.proto for layer in layers)
    return connect(net, layers, {value.blob: value.dims for value in graph.inputs})


def _with_outputs(layer: Layer, outputs: int) -> Layer:
    proto = type(layer.proto)()
    proto.CopyFrom(layer.proto)
    getattr(proto, layer.param or "").num_output = outputs
    return layer.changed(proto)
