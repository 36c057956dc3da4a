"""golden/nets and golden/random_nets: what real Caffe built and drew at seed 1701."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest

from caffe_compat import files, rules, upgrade
from caffe_compat.caffe_pb2 import TEST, TRAIN
from caffe_compat.graph import build
from caffe_compat.net import fill
from caffe_compat.rng import BoostRng

from .cases import GOLDEN

SMALL = 5_000_000


def _cases(limit):
    small, large = [], []
    for folder in sorted([*(GOLDEN / "nets").iterdir(), *(GOLDEN / "random_nets").iterdir()]):
        record = json.loads((folder / "net.json").read_text())
        count = sum(math.prod(b["shape"]) for blobs in record["params"].values() for b in blobs)
        (small if count < limit else large).append(folder)
    return [
        *(pytest.param(folder, id=folder.name) for folder in small),
        *(pytest.param(folder, id=folder.name, marks=pytest.mark.slow) for folder in large),
    ]


def graph_of(folder, record):
    net, _ = files.read_net(folder / "net.prototxt")
    phase = TRAIN if record["phase"] == "TRAIN" else TEST
    return build(rules.select(upgrade.upgrade(net), phase))


@pytest.mark.parametrize("folder", _cases(math.inf))
def test_graph(folder):
    record = json.loads((folder / "net.json").read_text())
    graph = graph_of(folder, record)
    assert [[n.layer.name, n.layer.proto.type] for n in graph.nodes] == record["layers"]
    assert [v.blob for v in graph.inputs if v.blob in record["inputs"]] == record["inputs"]
    shapes = {v.blob: list(v.shape) for v in graph.values}
    for blob, shape in record["blobs"].items():
        assert shapes.get(blob) == shape, blob
    params = {
        n.layer.name: [list(blob.shape) for blob in n.blobs] for n in graph.nodes if n.blobs
    }
    assert params == {k: [b["shape"] for b in v] for k, v in record["params"].items() if v}
    assert [v.blob for v in graph.outputs] == record["outputs"]


@pytest.mark.parametrize("folder", _cases(SMALL))
def test_weights(folder):
    record = json.loads((folder / "net.json").read_text())
    net = fill(graph_of(folder, record), BoostRng(record["seed"]))
    for node, arrays in zip(net.graph.nodes, net.params, strict=True):
        for i, array in enumerate(arrays):
            want = record["params"][node.layer.name][i]
            got = hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()
            assert got == want["sha256"], f"{node.layer.name} {i}"
