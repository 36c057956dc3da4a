"""Which gradients training needs: as real Caffe logs "needs backward computation"."""

from __future__ import annotations

import pytest

from caffe_compat.errors import UnsupportedError
from caffe_compat.net.aliasing import left_in_memory
from caffe_compat.net.needs import needs

from ..cases import graph_of

DATA = """
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } shape { dim: 4 } } }"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'


def conv(name, bottom, extra=""):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {extra} '
        "convolution_param { num_output: 2 kernel_size: 3 } }"
    )


def ip(bottom, extra="", name="ip"):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {extra} '
        "inner_product_param { num_output: 5 } }"
    )


def wanted(body):
    graph = graph_of(body, phase="TRAIN")
    found = needs(graph)
    names = [node.layer.name for node in graph.nodes]
    return (
        {name for name, run in zip(names, found.runs, strict=True) if run},
        {name: flags for name, flags in zip(names, found.bottoms, strict=True) if any(flags)},
        {name: flags for name, flags in zip(names, found.blobs, strict=True) if any(flags)},
    )


def test_nothing_below_the_first_layer_that_learns():
    runs, bottoms, _ = wanted(DATA + conv("c1", "data") + conv("c2", "c1") + ip("c2") + LOSS)
    assert runs == {"c1", "c2", "ip", "loss"}
    assert bottoms == {"c2": (True,), "ip": (True,), "loss": (True, False)}


def test_a_frozen_layer():
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    runs, bottoms, blobs = wanted(
        DATA + conv("c1", "data", frozen) + conv("c2", "c1") + ip("c2", frozen) + LOSS
    )
    assert runs == {"c2", "ip", "loss"}
    assert bottoms == {"ip": (True,), "loss": (True, False)}
    assert blobs == {"c2": (True, True)}


def test_propagate_down():
    stop = "propagate_down: false"
    runs, bottoms, _ = wanted(DATA + conv("c1", "data") + conv("c2", "c1") + ip("c2", stop) + LOSS)
    assert runs == {"ip", "loss"}
    assert bottoms == {"loss": (True, False)}


def test_a_branch_without_a_loss():
    side = ip("c1", name="side") + 'layer { name: "end" type: "Silence" bottom: "side" }'
    runs, _, _ = wanted(DATA + conv("c1", "data") + side + ip("c1") + LOSS)
    assert runs == {"c1", "ip", "loss"}


def test_force_backward():
    body = "force_backward: true" + DATA + conv("c1", "data", "param { lr_mult: 0 }") + ip("c1")
    runs, bottoms, blobs = wanted(body + LOSS)
    assert runs == {"data", "c1", "ip", "loss"}
    assert bottoms["c1"] == (True,) and blobs["c1"] == (True, True)


def test_lstm_computes_all_its_gradients():
    body = """
        layer { name: "x" type: "Input" top: "x" top: "cont" top: "label" input_param {
          shape { dim: 2 dim: 3 dim: 4 } shape { dim: 2 dim: 3 } shape { dim: 2 dim: 3 } } }
        layer { name: "rec" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
          param { lr_mult: 0 } param { lr_mult: 0 } recurrent_param { num_output: 5 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "h" bottom: "label" top: "loss"
          softmax_param { axis: 2 } }"""
    assert wanted(body)[2] == {"rec": (True, True, True)}


def test_what_is_left_in_memory():
    body = (
        DATA
        + conv("c1", "data")
        + 'layer { name: "s" type: "Sigmoid" bottom: "c1" top: "c1" }'
        + 'layer { name: "f" type: "Flatten" bottom: "c1" top: "f" }'
        + 'layer { name: "r" type: "ReLU" bottom: "f" top: "f" }'
        + ip("f")
    )
    graph = graph_of(body + LOSS, phase="TRAIN")
    assert left_in_memory(graph) == {"c1/c1": "f", "c1": "f", "f/f": "f"}


def test_a_bottom_that_is_overwritten_through_another_name():
    body = (
        DATA
        + conv("c1", "data")
        + 'layer { name: "first" type: "InnerProduct" bottom: "c1" top: "first" '
        + "inner_product_param { num_output: 5 } }"
        + 'layer { name: "f" type: "Flatten" bottom: "c1" top: "f" }'
        + 'layer { name: "r" type: "ReLU" bottom: "f" top: "f" }'
        + ip("f")
        + 'layer { name: "sum" type: "Eltwise" bottom: "ip" bottom: "first" top: "sum" }'
        + LOSS.replace('"ip"', '"sum"')
    )
    with pytest.raises(UnsupportedError, match=r"'first' .* 'c1' is overwritten through 'f'"):
        needs(graph_of(body, phase="TRAIN"))
