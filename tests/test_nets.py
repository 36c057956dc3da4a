"""golden/nets and golden/random_nets: real Caffe's layers, shapes and weights at seed 1701."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import onnxruntime as ort
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.net import Net
from caffe_compat.net.params import fill
from caffe_compat.onnx.lowering import lower

from .cases import GOLDEN, inline

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
    return pipeline.read(folder / "net.prototxt", phase=record["phase"], splits=True)


# Nets with a Crop without offset, and the offsets at which their bottoms align.
ALIGNED = {
    "s9xie_hed_examples_hed_deploy": [34, 35, 36, 38, 42],
    "eldar_deepcut_cnn_models_deepercut_ResNet_152": [1, 1, 1],
}


@pytest.mark.parametrize("name", ALIGNED)
def test_crops_without_an_offset_are_refused_aligned_or_at_0(name):
    path = GOLDEN / "nets" / name / "net.prototxt"
    with pytest.raises(UnsupportedError, match="has no offset"):
        lower(_cheap(pipeline.read(path)))
    graph = pipeline.read(path, fork="Crop=fcn")
    crops = [n.layer for n in graph.nodes if n.layer.proto.type == "Crop" and any(n.layer.aligned)]
    assert [set(layer.aligned) for layer in crops] == [{offset} for offset in ALIGNED[name]]
    lower(_cheap(graph))


@pytest.mark.parametrize("folder", _cases(math.inf))
def test_graph(folder):
    record = json.loads((folder / "net.json").read_text())
    graph = graph_of(folder, record)
    assert [[n.layer.name, n.layer.proto.type] for n in graph.nodes] == record["layers"]
    assert [v.blob for v in graph.inputs if v.blob in record["inputs"]] == record["inputs"]
    shapes = {v.blob: list(v.shape) for v in graph.values}
    for blob, shape in record["blobs"].items():
        if blob == "(automatic)":  # Caffe's name for a top without one
            unnamed = [n for n in graph.nodes if n.tops and not n.layer.proto.top]
            blob = unnamed[-1].tops[0].blob
        assert shapes.get(blob) == shape, blob
    params = {n.layer.name: [list(blob.shape) for blob in n.blobs] for n in graph.nodes if n.blobs}
    assert params == {k: [b["shape"] for b in v] for k, v in record["params"].items() if v}
    assert sorted(v.blob for v in graph.outputs) == sorted(record["outputs"])


@pytest.mark.parametrize("folder", _cases(SMALL))
def test_weights(folder):
    record = json.loads((folder / "net.json").read_text())
    net = fill(graph_of(folder, record), BoostRng(record["seed"]))
    for node, arrays in zip(net.graph.nodes, net.arrays, strict=True):
        for i, array in enumerate(arrays):
            want = record["params"][node.layer.name][i]
            got = hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()
            assert got == want["sha256"], f"{node.layer.name} {i}"


@pytest.mark.parametrize("folder", _cases(SMALL))
def test_lowers(folder):
    record = json.loads((folder / "net.json").read_text())
    fork = "bvlc" if folder.name in ALIGNED else None
    graph = pipeline.read(folder / "net.prototxt", phase=record["phase"], fork=fork)
    model = inline(lower(_cheap(graph)))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in graph.values}
    outputs = {output.name: tuple(output.shape) for output in session.get_outputs()}
    assert outputs == {name: shapes[name] for name in outputs}
    unnamed = {n.tops[0].name for n in graph.nodes if n.tops and not n.layer.proto.top}
    assert set(outputs) == ({value.name for value in graph.outputs} or unnamed)


def _cheap(graph):
    """The net with 0.01 for every weight: the values do not change the ONNX graph."""
    params = tuple(
        tuple(np.broadcast_to(np.float32(0.01), blob.shape) for blob in node.blobs)
        for node in graph.nodes
    )
    return Net(graph, params)
