"""BatchNorm and Scale are one node wherever nothing reads what is between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes.batchnorm import fuse_scales

from ...cases import assert_close, feed, inline, make, run_model

DRAWN = 'filler { type: "gaussian" std: 1 }'
BOTH = f'bias_term: true bias_filler {{ type: "uniform" min: -1 max: 1 }} {DRAWN}'
BATCH_NORM = """
    layer { name: "in" type: "Input" top: "x"
            input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }
    layer { name: "bn" type: "BatchNorm" bottom: "x" top: "%s" }
    layer { name: "s" type: "Scale" bottom: "%s" top: "y" scale_param { %s } }"""


def trained(net, index=1):
    """The net with moments for its BatchNorm."""
    rng = np.random.default_rng(8)
    moments = tuple(rng.uniform(0.5, 2, n).astype(np.float32) for n in (3, 3, 1))
    return replace(net, arrays=(*net.arrays[:index], moments, *net.arrays[index + 1 :]))


def after_batch_norm(scale, norm="b", more="", **kwargs):
    return trained(make(BATCH_NORM % (norm, norm, scale) + more, **kwargs))


def nodes(net, **kwargs):
    return [node.op_type for node in fuse_scales(lower(net, **kwargs)).model.graph.node]


def check(net):
    """The fused model computes what numpy does."""
    feeds = feed(net)
    for name, array in run_model(inline(fuse_scales(lower(net))), feeds).items():
        assert_close(array, net.run(feeds)[name], what=name)


@pytest.mark.parametrize("norm", ["b", "x"])
@pytest.mark.parametrize("scale", [DRAWN, BOTH, "axis: -3 " + BOTH])
def test_one_node(norm, scale):
    net = after_batch_norm(scale, norm, inputs={"x": [None, 3, None, None]})
    assert nodes(net) == ["BatchNormalization"]
    check(net)


def test_the_node_and_its_weights_have_the_layers_names():
    lowered = fuse_scales(lower(after_batch_norm(BOTH)))
    (node,) = lowered.model.graph.node
    assert node.name == "s"
    assert list(node.input[1:3]) == ["s/scale", "s/bias"]
    assert {lowered.params[name].name for name in ("s/scale", "s/bias")} == {"s/scale", "s/bias"}
    assert "s/scale:3x1x1" not in lowered.arrays
    assert set(lowered.arrays) == set(node.input[1:])


def test_weights_stay_where_they_lie():
    net = after_batch_norm(BOTH)
    lowered = fuse_scales(lower(net))
    for name, array in zip(("s/scale", "s/bias"), net.arrays[2], strict=True):
        assert np.shares_memory(lowered.arrays[name], array)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 5, 6)])
def test_any_rank(shape):
    dims = " ".join(f"dim: {n}" for n in shape)
    text = (BATCH_NORM % ("b", "b", BOTH)).replace("dim: 2 dim: 3 dim: 5 dim: 4", dims)
    net = trained(make(text))
    assert nodes(net) == ["BatchNormalization"]
    check(net)


def test_a_shift_without_a_scale():
    bias = f'layer {{ name: "t" type: "Bias" bottom: "y" top: "z" bias_param {{ {DRAWN} }} }}'
    net = after_batch_norm(DRAWN, more=bias)
    assert nodes(net) == ["BatchNormalization"]
    check(net)


def test_a_batch_norm_that_is_read_elsewhere_stays():
    net = after_batch_norm(BOTH)
    between = net.graph.blob("b")
    assert nodes(net, extra=[between]) == ["BatchNormalization", "Mul", "Add"]
    relu = 'layer { name: "r" type: "ReLU" bottom: "b" top: "z" }'
    net = after_batch_norm("", more=relu)
    assert nodes(net) == ["BatchNormalization", "Mul", "Relu"]
    check(net)


def test_only_by_channel():
    net = after_batch_norm("axis: 2")
    assert nodes(net) == ["BatchNormalization", "Mul"]
    # As many rows as channels: the shape of the factor does not tell them apart.
    square = (BATCH_NORM % ("b", "b", f"axis: 2 {DRAWN}")).replace("dim: 5 dim: 4", "dim: 3")
    net = trained(make(square))
    assert nodes(net) == ["BatchNormalization", "Mul"]
    check(net)


def test_only_one_scale():
    second = f'layer {{ name: "t" type: "Scale" bottom: "y" top: "z" scale_param {{ {BOTH} }} }}'
    for first, left in ((DRAWN, ["Mul", "Add"]), (BOTH, ["Mul", "Add"])):
        net = after_batch_norm(first, more=second)
        assert nodes(net) == ["BatchNormalization", *left]
        check(net)


def test_batch_norm_scale_is_one_node():
    net = make("""
        layer { name: "in" type: "Input" top: "x"
                input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }
        layer { name: "bn" type: "BatchNormScale" bottom: "x" top: "x"
                scale_param { bias_term: true filler { type: "gaussian" } } }""")
    assert nodes(net) == ["BatchNormalization"]
    check(net)
