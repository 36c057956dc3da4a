"""Parameter blobs that layers share by name: who owns them, and what Caffe refuses."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError

from ..cases import graph_of
from ..slope_nets import layer

INPUT = 'input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 9 }\n'


def dense(name, bottom, param="", outputs=4):
    return layer(
        "InnerProduct",
        bottom,
        name,
        f"{param} inner_product_param {{ num_output: {outputs} }}",
        name,
    )


def test_the_first_user_of_a_name_owns_the_blob():
    graph = graph_of(
        INPUT
        + dense("a", "data", 'param { name: "w" }')
        + dense("b", "data", 'param { name: "w" } param { name: "v" }')
    )
    assert graph.nodes[1].owners == ((1, 0), (1, 1))
    assert graph.nodes[2].owners == ((1, 0), (2, 1))


def test_permissive_sharing_asks_for_the_count_alone():
    text = (
        INPUT
        + dense("a", "data", 'param { name: "w" }')
        + layer("Reshape", "data", "r", "reshape_param { shape { dim: 8 dim: -1 } }")
    )
    shared = 'param { name: "w" share_mode: %s }'
    graph = graph_of(text + dense("b", "r", shared % "PERMISSIVE", 16))
    assert [blob.shape for blob in graph.nodes[-1].blobs] == [(16, 54), (16,)]
    assert graph.nodes[-1].owners[0] == (1, 0)
    with pytest.raises(
        ShapeError,
        match=(
            r"layer 'b' \(InnerProduct\): cannot share param 'w' owned by layer 'a'; "
            r"shape mismatch: "
            r"\(4, 216\) there, \(16, 54\) here"
        ),
    ):
        graph_of(text + dense("b", "r", shared % "STRICT", 16))
    with pytest.raises(ShapeError, match=r"count mismatch: \(4, 216\) there, \(5, 54\) here"):
        graph_of(text + dense("b", "r", shared % "PERMISSIVE", 5))


@pytest.mark.parametrize("field", ["lr_mult", "decay_mult"])
def test_users_agree_on_the_rates(field):
    def net(*rates):
        params = [f'param {{ name: "w" {rate} }}' for rate in rates]
        return INPUT + "".join(dense(f"l{i}", "data", p) for i, p in enumerate(params))

    graph_of(net(f"{field}: 2", "", f"{field}: 2"))
    with pytest.raises(
        ShapeError,
        match=(
            rf"layer 'l2' \(InnerProduct\): shared param 'w' has mismatched {field}: 2 in another "
            "layer, 3 here"
        ),
    ):
        graph_of(net(f"{field}: 2", "", f"{field}: 3"))


def test_more_params_than_blobs():
    with pytest.raises(ShapeError, match="too many params: 3 for 2 parameter blob"):
        graph_of(INPUT + dense("a", "data", "param { } " * 3))
