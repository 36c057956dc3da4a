"""Which nodes leave a GPU: none of a golden net at the default opset, and those that are known."""

from __future__ import annotations

import functools
import json
import runpy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import UnsupportedError
from caffe_compat.net.net import Net
from caffe_compat.onnx.lowering import Lowered, lower
from caffe_compat.runtime.placement import place

from ..cases import GOLDEN, make, one_layer

FOLDERS = [
    folder
    for group in ("layers", "layers_ssd", "models", "nets", "random_nets")
    for folder in sorted((GOLDEN / group).iterdir())
    if (folder / "net.prototxt").exists()
]


@pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}"
)
def test_every_node_of_every_golden_net_is_on_cuda(folder):
    try:
        net = cheap(folder)
        lowered = pipeline.lower(net, target="cuda")
    except UnsupportedError:
        return  # what has no ONNX form at all is tested elsewhere
    placement = place(lowered)
    assert (placement.left, placement.host) == ((), ()), placement.lines()


def cheap(folder):
    """The net with weights of zeros that take no memory."""
    graph = pipeline.read(folder / "net.prototxt")
    zeros = functools.cache(lambda shape: np.broadcast_to(np.float32(0), shape))
    arrays = tuple(tuple(zeros(blob.shape) for blob in node.blobs) for node in graph.nodes)
    return Net(graph, arrays)


def test_younger_opsets_leave_the_gpu():
    net = make(
        one_layer('type: "Pooling" pooling_param { pool: MAX kernel_size: 2 }', (1, 2, 4, 4))
    )
    assert place(lower(net)).left == ()
    (left,) = place(lower(net, 22)).left
    assert left[:2] == ("l", "MaxPool")
    assert left.why == "its kernels end with opset 12's operator, and opset 22 has a later one"
    assert place(lower(net, 22)).lines() == [
        "on CUDA: 0 of 1 nodes, by onnxruntime 1.31.1's kernels",
        f"on the CPU: 1 x MaxPool (l): {left.why}",
    ]


def test_types_attributes_and_domains():
    def model(node, kind=onnx.TensorProto.FLOAT, opset=18):
        graph = onnx.helper.make_graph(
            [node],
            "g",
            [onnx.helper.make_tensor_value_info("x", kind, [2, 3])],
            [onnx.helper.make_empty_tensor_value_info("y")],
        )
        imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("own", 1)]
        return Lowered(onnx.helper.make_model(graph, opset_imports=imports), {})

    def why(*arguments, kind=onnx.TensorProto.FLOAT, **attributes):
        node = onnx.helper.make_node(*arguments, ["x"], ["y"], **attributes)
        return [each.why for each in place(model(node, kind)).left]

    assert why("Relu") == []
    assert why("Relu", kind=onnx.TensorProto.INT8) == ["there is no kernel for int8"]
    assert why("ArgMax", axis=1) == []
    assert why("ArgMax", axis=1, select_last_index=1) == [
        "there is no kernel with select_last_index"
    ]
    assert why("Relu", domain="own") == ["the domain own is not known here"]
    assert why("MaxRoiPool") == ["there is no kernel"]
    assert why("NoSuch") == ["there is no kernel"]


def test_shapes_are_on_the_host():
    net = make(
        one_layer('type: "Tile" tile_param { tiles: 2 }', (1, 2, 4, 4)),
        inputs={"a": (None, 2, 4, 4)},
    )
    placement = place(lower(net))
    assert not placement.left


def test_the_table_is_made_of_the_registry():
    class Kernel(NamedTuple):
        provider: str
        domain: str
        op_name: str
        version_range: tuple[int, int]
        type_constraints: dict[str, list[str]]

    cuda, open_end = "CUDAExecutionProvider", 2**31 - 1
    path = Path(__file__).parents[2] / "docs" / "make_kernels.py"
    text = runpy.run_path(str(path))["table"](
        [
            Kernel(cuda, "", "Relu", (14, open_end), {"T": ["tensor(float)"]}),
            Kernel(cuda, "", "Relu", (14, open_end), {"T": ["tensor(double)"]}),
            Kernel(cuda, "", "Relu", (6, 12), {"T": ["tensor(float)"]}),
            Kernel(cuda, "com.microsoft", "Gelu", (1, open_end), {}),
            Kernel("CPUExecutionProvider", "", "Elu", (6, open_end), {}),
        ],
        "1.0",
    )
    rows = [[6, 12, {"T": ["float"]}], [14, None, {"T": ["double", "float"]}]]
    assert json.loads(text) == {"onnxruntime": "1.0", "kernels": {"Relu": rows}}
