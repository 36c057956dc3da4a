"""A net as a torch module, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, fx, nn

from ..caffe_pb2 import TRAIN
from ..errors import UnsupportedError
from ..layers.layer import Layer
from ..net.graph import Node, Value
from ..net.net import Net
from ..net.sharing import Place
from ..types import Array
from ..weights import mapped
from .forms import Form, Forms
from .fusing import fuse_scales, overwrite
from .module import CaffeModule
from .names import NameMap, attributes, identifiers
from .origin import Files, Origin
from .transform import Transform
from .writer import Writer, hold


def build(
    net: Net,
    outputs: Sequence[Value],
    *,
    versions: bool = False,
    in_numpy: Mapping[int, Layer] = MappingProxyType({}),
    tensors: Mapping[Place, Tensor] = MappingProxyType({}),
) -> CaffeModule:
    """Return the module that computes these values of a net.

    Args:
        net: the net with its weights.
        outputs: what it returns, by the blobs' names.
        versions: name the outputs by `Value.name`, for several versions of one blob.
        in_numpy: layers for numpy to run, by their place in the graph, in place of the graph's.
        tensors: the memory of parameter blobs, by their owners' places; others are copied.

    Raises:
        UnsupportedError: the layers that neither torch nor numpy can compute, all at once.
        WeightsError: the file that the weights are views of was changed.
    """
    net.check()
    needed = _needed(net, outputs)
    forms = _find_forms(Forms(net, in_numpy, tensors), net, needed)
    nodes = net.graph.nodes
    taken = {*dir(CaffeModule), *vars(CaffeModule(nn.Module(), fx.Graph()))}
    names = attributes([node.layer.name for node in nodes], taken.__contains__)
    inputs = [value for value in net.graph.inputs if value.name in needed]
    arguments = identifiers([value.blob for value in inputs])
    writer = Writer()
    for value, argument in zip(inputs, arguments, strict=True):
        writer.input(value.name, argument)
    for index, form in forms.items():
        _add(writer, nodes[index], form, names[index], net.graph.net.force_backward)
    results = {
        value.name if versions else value.blob: writer.tensor(value.name).node for value in outputs
    }
    writer.graph.output(results if len(results) != 1 else next(iter(results.values())))
    title = re.sub(r"\W", "_", net.graph.net.name or "Net")
    module = CaffeModule(hold(writer.root), writer.graph, title)
    fuse_scales(module, {names[index] for index, form in forms.items() if form.scales})
    overwrite(module)
    places = {
        f"{names[index]}.{part}": (index, blob)
        for index, form in forms.items()
        for part, blob in form.blobs.items()
    }
    module.meta["caffe"] = Origin(
        graph=net.graph,
        names=NameMap(
            layers={names[i]: nodes[i].layer.name for i, form in forms.items() if form.module},
            inputs={a: value.blob for a, value in zip(arguments, inputs, strict=True)},
            params={key: (nodes[i].layer.name, blob) for key, (i, blob) in places.items()},
        ),
        outputs=_loss_weights(net, outputs),
        places=places,
        parts={index: names[index] for index, form in forms.items() if form.module},
        others=_others(net, places),
        files=Files(mapped.files(array for arrays in net.arrays for array in arrays)),
        shapes={value.blob: value.shape for value in net.graph.inputs},
        preprocess=Transform(None, ()),
    )
    return module.train(net.graph.net.state.phase == TRAIN)


def _loss_weights(net: Net, outputs: Sequence[Value]) -> dict[str, float]:
    weights = {
        top.name: weight
        for node in net.graph.nodes
        for top, weight in zip(node.tops, node.loss_weights, strict=True)
    }
    return {value.blob: weights[value.name] for value in outputs}


def _others(net: Net, places: Mapping[str, Place]) -> dict[Place, Array]:
    """Return the blobs that no parameter of the module is."""
    have = set(places.values())
    return {
        (index, i): array
        for index, arrays in enumerate(net.arrays)
        for i, array in enumerate(arrays)
        if (index, i) not in have
    }


def _needed(net: Net, outputs: Sequence[Value]) -> set[str]:
    """Return the values that the outputs depend on."""
    needed = {value.name for value in outputs}
    for node in reversed(net.graph.nodes):
        if not needed.isdisjoint(top.name for top in node.tops):
            needed.update(bottom.name for bottom in node.bottoms)
    return needed


def _find_forms(finder: Forms, net: Net, needed: set[str]) -> dict[int, Form]:
    """Return the form of every layer that makes something needed and not fed."""
    forms, refused = {}, []
    for index, node in enumerate(net.graph.nodes):
        fed = len(node.layer.feeds()) == len(node.tops)
        if fed or needed.isdisjoint(top.name for top in node.tops):
            continue
        try:
            forms[index] = finder.find(index)
        except UnsupportedError as error:
            refused.append(str(error))
    if refused:
        raise UnsupportedError("; ".join(dict.fromkeys(refused)))
    return forms


def _add(writer: Writer, node: Node, form: Form, name: str, all_gradients: bool) -> None:
    """Write a layer into the code of the net."""
    bottoms = _bottoms(writer, node, all_gradients)
    if form.piece is None:
        assert form.module is not None
        result: Any = writer.call(name, form.module, bottoms)
        several = len(node.tops) > 1
        tops: list[Any] = [result[i] for i in range(len(node.tops))] if several else [result]
    else:
        tops = _write(writer, form, bottoms, name)
    for i, (value, top) in enumerate(zip(node.tops, tops, strict=True)):
        if i in node.layer.feeds():
            continue
        if isinstance(top, fx.Proxy):
            if i in node.layer.unread:
                top = top.detach()
            if top.node.op != "placeholder":
                _name(top.node, node.layer.name if i == 0 and node.inplace else value.blob)
        writer.values[value.name] = top


def _write(writer: Writer, form: Form, bottoms: Sequence[fx.Proxy], name: str) -> list[Any]:
    """Write the nodes of a layer, some of which may be calls of its module."""
    assert form.piece is not None
    values = dict(zip(form.piece.bottoms, bottoms, strict=True))
    with writer.scope({**values, **form.piece.constants}):
        for part in form.piece.nodes:
            if part in form.calls:
                assert form.module is not None
                result = writer.call(name, form.module, [writer.tensor(part.input[0])])
                writer.values[part.output[0]] = result
            else:
                writer.add(part)
        return [top and writer.values[top] for top in form.piece.tops]


def _bottoms(writer: Writer, node: Node, all_gradients: bool) -> list[fx.Proxy]:
    """Return the bottoms, of those that no gradient reaches the numbers alone.

    With `force_backward` Caffe does not read `propagate_down`.
    """
    bottoms = [writer.tensor(value.name) for value in node.bottoms]
    blocked = {i + len(bottoms) if i < 0 else i for i in node.layer.blocked}
    if not all_gradients:
        blocked |= {i for i, flows in enumerate(node.layer.proto.propagate_down) if not flows}
    return [x.detach() if i in blocked else x for i, x in enumerate(bottoms)]


def _name(node: fx.Node, name: str) -> None:
    """Call a variable of the code as the blob is called, as far as Python allows."""
    if node.name != re.sub(r"[^0-9a-zA-Z_]+", "_", name):
        node._rename(name)
