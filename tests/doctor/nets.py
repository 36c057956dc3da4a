"""Nets of equal layers, and their findings, for the tests of this folder."""

from __future__ import annotations

from google.protobuf import text_format

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.doctor import examine

from ..cases import graph_of

RELU = 'type: "ReLU"'
DATA = """layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: {n} dim: {c} dim: {h} dim: {w} }} }} }}
"""


def stack(layers, filler='type: "msra"', act=RELU, *, width=16, end=True):
    """3x3 convolutions with activations, and a fully connected layer with a Softmax."""
    text = 'name: "stack" ' + DATA.format(n=2, c=5, h=12, w=11)
    below = "data"
    for i in range(1, layers + 1):
        text += (
            f'layer {{ type: "Convolution" name: "conv{i}" bottom: "{below}" top: "conv{i}" '
            f"convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 "
            f"weight_filler {{ {filler} }} }} }}\n"
            f'layer {{ name: "act{i}" {act} bottom: "conv{i}" top: "conv{i}" }}\n'
        )
        below = f"conv{i}"
    if end:
        text += (
            f'layer {{ name: "fc" type: "InnerProduct" bottom: "{below}" top: "fc" '
            f"inner_product_param {{ num_output: 10 weight_filler {{ {filler} }} }} }}\n"
            'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
        )
    return text


def one(layer, n=2, c=6, h=9, w=8):
    return DATA.format(n=n, c=c, h=h, w=w) + layer


def findings(text, **options):
    found = examine(graph_of(text), trials=options.pop("trials", 1), **options).findings
    return {finding.rule: finding for finding in found}


def paste(text, remedy):
    """Write a remedy's lines into a prototxt as a reader would."""
    net = text_format.Parse(text, NetParameter())
    for change in remedy.changes:
        for name in change.layers:
            at = next(i for i, layer in enumerate(net.layer) if layer.name == name)
            if change.line.startswith("layer {"):
                further = list(net.layer)[at + 1 :]
                del net.layer[at + 1 :]
                text_format.Merge(change.line, net)
                net.layer.extend(further)
                continue
            layer, field = net.layer[at], change.line.split(" ")[0]
            message = layer
            if field in ("weight_filler", "bias_filler"):
                dense = layer.type == "InnerProduct"
                message = layer.inner_product_param if dense else layer.convolution_param
            message.ClearField(field)
            text_format.Merge(change.line, message)
    return text_format.MessageToString(net)
