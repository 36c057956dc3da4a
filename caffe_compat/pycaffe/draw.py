"""`caffe.draw`: a net as a picture, by pydot and graphviz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import extras
from .proto import caffe_pb2

_NEURON = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
_BLOB = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_EMPTY = '""'


def get_pooling_types_dict() -> dict[int, str]:
    """Return the names of the pooling methods by number."""
    methods = caffe_pb2.PoolingParameter.PoolMethod.DESCRIPTOR.values
    return {method.number: method.name for method in methods}


def get_edge_label(layer: Any) -> str:
    """Return the label of the edge to a layer's top: its number of channels, or the batch."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return _EMPTY


def get_layer_lr_mult(layer: Any) -> tuple[float, float]:
    """Return the learning rate multipliers of a layer's weights and biases.

    Raises:
        ValueError: the layer has no such parameters, or more than two.
    """
    if layer.type not in ("Convolution", "Deconvolution", "InnerProduct"):
        raise ValueError(f"{layer.type} layers do not have a learning rate multiplier")
    rates = [spec.lr_mult for spec in layer.param]
    if len(rates) > 2:
        raise ValueError("Could not parse the learning rate multiplier")
    weight, bias = [*rates, 1.0, 1.0][: max(len(rates), 2)][:2]
    return weight, bias


def get_layer_label(layer: Any, rankdir: str, display_lrm: bool = False) -> str:
    """Return a layer's label: name, type and what it slides by.

    Args:
        layer: a LayerParameter.
        rankdir: the direction of the graph; LR puts the parts on lines of their own.
        display_lrm: add the learning rate multipliers.
    """
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    kind = layer.type
    if kind == "Pooling":
        kind = f"{kind} {get_pooling_types_dict()[layer.pooling_param.pool]}"
    parts = [layer.name, f"({kind})"]
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        sizes = zip(("kernel size", "stride", "pad"), _window(layer), strict=True)
        parts.append(separator.join(f"{name}: {size}" for name, size in sizes))
    if display_lrm and layer.type in ("Convolution", "Deconvolution", "InnerProduct"):
        rates = get_layer_lr_mult(layer)
        if any(rates):
            parts.append(f"lr mult: {rates[0]:.1f}, {rates[1]:.1f}")
    return f'"{separator.join(parts)}"'  # quoted, or graphviz reads a colon as a port


def _window(layer: Any) -> tuple[int, int, int]:
    """Return kernel size, stride and padding; the first axis' of a convolution."""
    if layer.type == "Pooling":
        p = layer.pooling_param
        return p.kernel_size, p.stride, p.pad
    p = layer.convolution_param
    return (*p.kernel_size, 1)[0], (*p.stride, 1)[0], (*p.pad, 0)[0]


def choose_color_by_layertype(layertype: str) -> str:
    """Return the fill color of a layer type."""
    return _COLORS.get(layertype, "#6495ED")


def get_pydot_graph(
    caffe_net: Any,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """Return the pydot graph of a net.

    Args:
        caffe_net: a NetParameter with the current form of layers.
        rankdir: LR, TB or BT.
        label_edges: write numbers of channels at the edges.
        phase: draw that phase's layers; None: all.
        display_lrm: write the learning rate multipliers.

    Raises:
        ValueError: a layer has include and exclude rules.
    """
    pydot = extras.load("pydot")
    graph = pydot.Dot(caffe_net.name or "Net", graph_type="digraph", rankdir=rankdir)
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str, str]] = []
    for layer in _layers(caffe_net, phase):
        name = f"{layer.name}_{layer.type}"
        in_place = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]
        color = choose_color_by_layertype(layer.type)
        style = _NEURON if in_place else {**_NEURON, "fillcolor": color}
        nodes[name] = pydot.Node(get_layer_label(layer, rankdir, display_lrm), **style)
        for blob in layer.bottom:
            nodes[f"{blob}_blob"] = pydot.Node(_quoted(blob), **_BLOB)
            edges.append((f"{blob}_blob", name, _EMPTY))
        for blob in layer.top:
            nodes[f"{blob}_blob"] = pydot.Node(_quoted(blob))
            edges.append((name, f"{blob}_blob", get_edge_label(layer) if label_edges else _EMPTY))
    for node in nodes.values():
        graph.add_node(node)
    for start, end, label in edges:
        graph.add_edge(pydot.Edge(nodes[start], nodes[end], label=label))
    return graph


def _quoted(name: str) -> str:
    return f'"{name}"'


def _layers(net: Any, phase: int | None) -> Iterator[Any]:
    """Yield the layers of a phase, by the rules' phases alone."""
    for layer in net.layer:
        if phase is not None:
            if layer.include and layer.exclude:
                raise ValueError(f"layer {layer.name} has both include and exclude specified.")
            if layer.include and all(rule.phase != phase for rule in layer.include):
                continue
            if any(rule.phase == phase for rule in layer.exclude):
                continue
        yield layer


def draw_net(
    caffe_net: Any,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """Return a picture of a net, in the format that `ext` names; see `get_pydot_graph`."""
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    picture: bytes = graph.create(format=ext)
    return picture


def draw_net_to_file(
    caffe_net: Any,
    filename: str,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write a picture of a net, in the format of the file's extension; see `get_pydot_graph`."""
    picture = draw_net(caffe_net, rankdir, filename.rpartition(".")[2], phase, display_lrm)
    Path(filename).write_bytes(picture)
