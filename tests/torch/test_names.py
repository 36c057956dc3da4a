"""Caffe's names through torch: any name of a layer, an input or a blob."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import LayerParameter, NetParameter
from caffe_compat.fillers.rng import FastRng
from caffe_compat.net.build import build as build_graph
from caffe_compat.net.params import fill
from caffe_compat.torch import to_torch
from caffe_compat.torch.names import attributes, identifiers

from ..cases import assert_close

AWKWARD = [
    "conv1/7x7_s2", "1x1", "a b", "a.b", "a_b", "", ".", "in", "None", "class", "it's", 'say "so"',
    "back\\slash", "new\nline", "train", "forward", "training", "weight", "code", "graph", "data",
    "слой", "twin", "twin", "names", "origin", "__class__", "_parameters", "x" * 200, "a-b", "a#b",
]  # fmt: skip


def chain(names):
    """A net of InnerProducts of these names; the blobs are called likewise, where they can be."""
    net = NetParameter()
    net.layer.append(LayerParameter(name="input", type="Input", top=["data:0"]))
    net.layer[0].input_param.shape.add(dim=[2, 3])
    for i, name in enumerate(names):
        last = net.layer[-1].top[0]
        layer = LayerParameter(name=name, type="InnerProduct", bottom=[last], top=[f"{name}{i}"])
        layer.inner_product_param.num_output = 3
        layer.inner_product_param.weight_filler.type = "xavier"
        net.layer.append(layer)
    return fill(build_graph(net), FastRng(1))


def check(net):
    module = to_torch(net)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    want = net.forward({"data:0": x})[net.graph.outputs[0].blob]
    tensor = torch.tensor(x)
    layers = [node.layer.name for node in net.graph.nodes[1:]]
    for each in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_close(each(tensor).detach().numpy(), want, 1e-5)
        assert list(each.names.layers.values()) == layers
        assert [name for name, _ in each.named_children()] == list(each.names.layers)
    assert torch.equal(module(**{"data:0": tensor}), module(data_0=tensor))
    assert [place[0] for place in module.names.params.values()] == [n for n in layers for _ in "wb"]
    module.load_state_dict(module.state_dict(), strict=True)
    return module


def test_awkward_names():
    module = check(chain(AWKWARD))
    kept = {"conv1/7x7_s2", "1x1", "a b", "a_b", "weight", "data", "слой", "twin", "a-b", "a#b"}
    assert {name for name, layer in module.names.layers.items() if name == layer} >= kept
    assert module.names.layers["in_"] == "in" and module.names.layers["train_"] == "train"
    assert module.names.layers["twin_2"] == "twin"
    exported = torch.export.export(module, (torch.ones(2, 3),)).module()
    assert torch.equal(exported(torch.ones(2, 3)), module(torch.ones(2, 3)))
    assert set(exported.state_dict()) == set(module.state_dict())


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_any_names(names):
    check(chain(names))


@given(st.lists(st.text(max_size=5)))
def test_names_are_fit_and_unique(names):
    fit = attributes(names, {"train", "a"}.__contains__)
    assert len(fit) == len(set(fit)) == len(names)
    assert not any(set(name) & set(".\"'\\\n") or name in ("", "train", "a") for name in fit)
    arguments = identifiers(names)
    assert len(set(arguments)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in arguments)


@pytest.mark.parametrize("name", ["data", "label"])
def test_plain_names_stay(name):
    assert attributes([name], lambda _: False) == identifiers([name]) == [name]
