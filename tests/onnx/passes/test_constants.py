"""What is the same in every run is computed once, and no weight is copied for it."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes.constants import fold_constants

from ...cases import feed, inline, make, run_model

SCORES = """
layer { name: "f" type: "Input" top: "f" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 6 } } }
layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 2 dim: 3 dim: 50 dim: 90 } } }
layer { name: "p" type: "PriorBox" bottom: "f" bottom: "d" top: "p"
        prior_box_param { min_size: 20 aspect_ratio: 2 } }
layer { name: "q" type: "PriorBox" bottom: "f" bottom: "d" top: "q"
        prior_box_param { min_size: 30 max_size: 40 } }
layer { name: "all" type: "Concat" bottom: "p" bottom: "q" top: "all" concat_param { axis: 2 } }
"""
RESHAPED = """
layer { name: "r" type: "Reshape" bottom: "all" top: "r" reshape_param { shape { dim: 2 dim: -1 } } }
layer { name: "s" type: "Slice" bottom: "r" top: "a" top: "b" slice_param { axis: 0 } }
layer { name: "m" type: "Eltwise" bottom: "a" bottom: "b" top: "m" %s }
layer { name: "t" type: "Transpose" bottom: "m" top: "t" transpose_param { dim: 1 dim: 0 } }
layer { name: "o" type: "Flatten" bottom: "t" top: "o" }
"""  # noqa: E501


def operators(lowered):
    return [node.op_type for node in lowered.model.graph.node]


def same(net):
    """The folded model, which gives what the plain one does, bit for bit."""
    lowered = lower(net)
    folded = fold_constants(lowered)
    want = run_model(inline(lowered), feed(net))
    for name, array in run_model(inline(folded), feed(net)).items():
        np.testing.assert_array_equal(array, want[name])
    return folded


def test_priors_of_several_maps_are_one_constant():
    net = make(SCORES)
    folded = same(net)
    assert operators(folded) == ["Identity"]  # an output needs a node
    assert len(folded.arrays) == 1


@pytest.mark.parametrize(
    "how",
    [
        "",
        "eltwise_param { operation: PROD }",
        "eltwise_param { coeff: 1 coeff: -1 }",
        "eltwise_param { coeff: 2 coeff: 0.5 }",
    ],
)
def test_what_is_computed_from_priors_is_one_too(how):
    folded = same(make(SCORES + RESHAPED % how))
    assert operators(folded) == ["Identity"]


def test_priors_of_open_sizes_are_computed_in_each_run():
    open_ = {"f": (None, 3, None, None), "d": (None, 3, None, None)}
    lowered = lower(make(SCORES, inputs=open_))
    assert {"Range", "Concat"} <= set(operators(fold_constants(lowered)))


def test_weights_are_no_constants():
    """A transposed copy would take them out of the caffemodel's bytes."""
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 } } }
        layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
          num_output: 4 axis: 2 weight_filler { type: "xavier" } } }""")
    assert operators(same(net)) == ["Transpose", "MatMul", "Add"]


def test_what_would_grow_the_file_stays_a_node():
    net = make("""
        layer { name: "x" type: "DummyData" top: "x" top: "w"
                dummy_data_param { shape { dim: 64 dim: 999 } data_filler { value: 3 } } }
        layer { name: "y" type: "Eltwise" bottom: "x" bottom: "w" top: "y" }""")
    folded = same(net)
    assert operators(folded) == ["ConstantOfShape", "ConstantOfShape", "Add"]
    assert sum(array.nbytes for array in folded.arrays.values()) < 100


def test_the_model_that_it_is_given_stays_as_it_was():
    lowered = lower(make(SCORES))
    before = lowered.model.SerializeToString()
    fold_constants(lowered)
    assert lowered.model.SerializeToString() == before
