"""The branches of sums, and the std that keeps the variance of nets that have them."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from caffe_compat.fillers.rng import make_rng
from caffe_compat.net.params import fill
from caffe_compat.net.residual import Branches, apply_residual, branch_shares, std_by_node
from caffe_compat.net.slopes import resolve

from ..cases import graph_of
from ..doctor.zoo import PRELU, Pen, plain, resnet, sphereface


def names(graph, indices):
    return [graph.nodes[index].layer.name for index in indices]


def block(pen, x, *, project=False):
    y = pen.conv(pen.act_(pen.conv(x, 16, name=f"a{pen.count}")), 16, name=f"b{pen.count}")
    return pen.add(pen.conv(x, 16, 1, name=f"p{pen.count}") if project else x, y)


def test_the_branch_is_the_way_of_more_weights():
    pen = Pen("net", channels=16)
    block(pen, block(pen, "data"), project=True)
    graph = graph_of(pen.text)
    branches = Branches(graph)
    assert [names(graph, b.last) for b in branches.all] == [["b2"], ["b6"]]
    assert branches.series == 2
    assert names(graph, sorted(branches.inside)) == ["a0", "act2", "b2", "a4", "act6", "b6"]
    assert branch_shares(graph) == dict.fromkeys((b.last[0] for b in branches.all), 0.5)


def test_a_normalised_branch_has_no_last_layer():
    graph = graph_of(resnet(2))
    assert {branch.last for branch in Branches(graph).all} == {()}
    assert branch_shares(graph) == {}


def test_a_chain_gets_msra_with_slopes():
    graph = graph_of(plain(6, 'type: "msra"', PRELU))
    stds = std_by_node(graph)
    want = {each.place[0]: float(each.sigma) for each in resolve(graph)}
    assert stds == {index: pytest.approx(std, rel=1e-6) for index, std in want.items()}


def test_a_branch_adds_its_share_of_the_trunk():
    """Behind the sum the ReLU keeps s, which was rectified; so b is 1/L of E[s²], not of Var."""
    graph = graph_of(resnet(2, norm=False))
    stds = std_by_node(graph)
    by_name = {graph.nodes[index].layer.name: std for index, std in stds.items()}
    convolutions = [name for name in by_name if name.startswith("conv")]
    first, inner, last, second = convolutions[:4]
    assert by_name[first] == pytest.approx(sqrt(1 / 27))
    assert by_name[inner] == pytest.approx(sqrt(2 / 72))
    assert by_name[last] == pytest.approx(sqrt(1 / 72 / 6))
    assert by_name[second] == pytest.approx(sqrt(2 / 72))


@pytest.mark.parametrize(
    "text",
    [
        resnet(9, norm=False),
        resnet(18, norm=False),
        resnet(9, norm=False, order="pre"),
        resnet(6, norm=False, bottleneck=True),
        sphereface((1, 2, 4, 1)),
        sphereface((3, 8, 16, 3)),
    ],
    ids=["ResNet-56", "ResNet-110", "pre", "bottleneck", "SphereFace-20", "SphereFace-64"],
)
def test_the_signal_keeps_its_size_from_end_to_end(text):
    from caffe_compat.doctor.bench import Bench

    flow = Bench(range(3), "boost-1.64", None).measure(apply_residual(graph_of(text)))
    for level in flow.arrivals():
        assert 0.1 < level < 10


def test_fillers_are_gaussians_that_stock_caffe_knows():
    graph = apply_residual(graph_of(resnet(1, norm=False)))
    for node in graph.nodes:
        if node.layer.type in ("Convolution", "InnerProduct"):
            assert node.blobs[0].filler.type == "gaussian"
    net = fill(graph, make_rng("boost-1.64", 1))
    index = next(i for i, node in enumerate(graph.nodes) if node.blobs)
    assert np.std(net.arrays[index][0]) == pytest.approx(sqrt(256 * 9 / 2116 / 27), rel=0.2)
