"""The page of a net: every layer, its costs and weights, whatever its names are."""

from __future__ import annotations

import json
import re

import numpy as np

import caffe_compat
from caffe_compat.pages.net_page import net_page

from ..cases import GOLDEN, graph_of, make

HOSTILE = "</script><svg onload=alert(1)>\\\"'"
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 8, 8] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "%s" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


def data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))


def test_in_place_layers_share_their_blobs_box():
    page = net_page(graph_of(NET % "fc"))
    boxes = re.findall(r'data-nodes="([^"]*)"', page)
    assert boxes == ["0", "1 2", "3"]
    assert "conv · Convolution 3x3" in page
    assert "relu · ReLU" in page
    assert page.count("<path") == 2


def test_a_long_name_is_shortened_in_its_middle():
    name = "conv_of_the_third_stage_second_block_of_the_left_branch"
    page = net_page(graph_of((NET % "fc").replace('"conv"', f'"{name}"')))
    assert "conv_of_th…ft_branch · Convolution 3x3" in page
    assert f"<title>{name}, relu</title>" in page


def test_weights_and_fillers():
    net = make(NET % "fc")
    conv = data(net_page(net))[1]["blobs"][0]
    weight = net.params["conv"]["weight"]
    assert sum(conv["counts"]) == weight.size
    assert np.isclose(conv["std"], weight.std(), rtol=1e-5)
    assert float(conv["variance"]) == float(f"{2 / 27:.4g}")
    assert "counts" not in data(net_page(net.graph))[1]["blobs"][0]


def test_values_that_are_not_finite_are_counted():
    net = make(NET % "fc")
    net.params["conv"]["weight"].flat[:3] = np.nan, np.inf, 1
    conv = data(net_page(net))[1]["blobs"][0]
    assert conv["lost"] == 2
    assert sum(conv["counts"]) == net.params["conv"]["weight"].size - 2


def test_hostile_names_stay_text():
    page = net_page(graph_of(NET % HOSTILE.replace("\\", "\\\\").replace('"', '\\"')))
    assert "<svg onload" not in page
    assert page.count("<script") == 2
    assert data(page)[3]["name"] == HOSTILE


def test_findings_are_shown_with_their_layer():
    page = net_page(graph_of(NET % "fc"), {"conv": ["too small a std"]})
    assert data(page)[1]["findings"] == ["too small a std"]


def test_googlenet_has_a_box_for_every_blob():
    graph = caffe_compat.read(
        GOLDEN / "nets" / "BVLC_caffe_models_bvlc_googlenet_deploy" / "net.prototxt"
    )
    page = net_page(graph)
    boxes = re.findall(r'data-nodes="([^"]*)"', page)
    nodes = [int(n) for box in boxes for n in box.split()]
    assert sorted(nodes) == list(range(len(graph.nodes)))
    assert page.count('class="box dear"') == 5
    assert len(re.findall(r"<tr[^>]* data-node=", page)) == 143
