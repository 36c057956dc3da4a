"""Graphs: versions of blobs, and nodes in place."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError

from ..cases import graph_of
from ..slope_nets import INPUT, conv, layer


def test_versions_of_a_blob():
    graph = graph_of(INPUT + conv("c", "data") + layer("ReLU", "c", "c") + layer("TanH", "c", "t"))
    assert [value.name for value in graph.values] == ["data", "c/c", "c", "t"]
    assert graph.blob("c").name == "c"
    assert [node.inplace for node in graph.nodes] == [False, False, True, False]
    assert [value.blob for value in graph.inputs] == ["data"]
    assert [value.blob for value in graph.outputs] == ["t"]
    with pytest.raises(ShapeError, match="the net has no blob 'd'"):
        graph.blob("d")
