from __future__ import annotations

import shutil

import pytest
from google.protobuf import text_format

from caffe_compat.pycaffe import draw
from caffe_compat.pycaffe.proto import caffe_pb2

from .nets import SIMPLE

pytest.importorskip("pydot")

NET = (
    SIMPLE
    + """
layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool:0'
  pooling_param { kernel_size: 2 stride: 2 pool: AVE } include { phase: TRAIN } }
"""
)


def parse(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_labels_say_what_a_layer_is():
    net = parse(NET)
    conv, pool = net.layer[1], net.layer[-1]
    assert (
        draw.get_layer_label(conv, "TB") == '"conv (Convolution) kernel size: 3 stride: 1 pad: 0"'
    )
    assert draw.get_layer_label(conv, "LR").count(r"\n") == 4
    assert "(Pooling AVE)" in draw.get_layer_label(pool, "LR")
    assert draw.get_edge_label(conv) == "4"
    assert draw.get_edge_label(pool) == '""'
    assert draw.choose_color_by_layertype("Pooling") == "#FF9900"


def test_learning_rates():
    (layer,) = parse("layer { type: 'InnerProduct' param { lr_mult: 3 } }").layer
    assert draw.get_layer_lr_mult(layer) == (3, 1)
    assert "lr mult: 3.0, 1.0" in draw.get_layer_label(layer, "TB", display_lrm=True)
    with pytest.raises(ValueError, match="do not have a learning rate multiplier"):
        draw.get_layer_lr_mult(parse("layer { type: 'ReLU' }").layer[0])


def test_a_phase_chooses_layers():
    nodes = {
        phase: {
            node.get_name()
            for node in draw.get_pydot_graph(parse(NET), "LR", phase=phase).get_nodes()
        }
        for phase in (None, caffe_pb2.TRAIN, caffe_pb2.TEST)
    }
    assert nodes[None] == nodes[caffe_pb2.TRAIN]
    assert nodes[None] - nodes[caffe_pb2.TEST] == {
        '"pool:0"',
        draw.get_layer_label(parse(NET).layer[-1], "LR"),
    }
    text = "layer { name: 'a' include { phase: TRAIN } exclude { phase: TEST } }"
    with pytest.raises(ValueError, match="both include and exclude"):
        draw.get_pydot_graph(parse(text), "LR", phase=0)


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz's dot is not installed")
def test_a_picture(tmp_path):
    draw.draw_net_to_file(parse(NET), str(tmp_path / "net.png"), "TB")
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
