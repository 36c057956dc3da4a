"""The pass for WebGPU: the same numbers, in forms that the provider computes."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify, webgpu

from ...cases import feed, inline, make, one_layer, run_model


def fitted(net):
    """The operators after the pass; checks that the numbers are the net's."""
    lowered = webgpu.fit(simplify(lower(net)))
    feeds = feed(net)
    outputs, want = run_model(inline(lowered), feeds), net.forward(feeds)
    for name, array in outputs.items():
        np.testing.assert_allclose(array, want[name], atol=1e-5)
    return [node.op_type for node in lowered.model.graph.node], lowered.model


@pytest.mark.parametrize(
    ("groups", "outputs", "convs"),
    [
        (2, 5, 2),
        (2, 6, 2),
        (4, 3, 3),
        (6, 2, 2),
        (2, 33, 2),
        (3, 33, 1),
        (2, 8, 1),
        (3, 12, 1),
        (6, 1, 1),
    ],
)
@pytest.mark.parametrize("bias", ["true", "false"])
def test_groups_whose_outputs_no_vector_holds(groups, outputs, convs, bias):
    body = (
        'type: "Convolution" convolution_param { kernel_size: 3 pad: 1 stride: 2 '
        f"num_output: {groups * outputs} group: {groups} bias_term: {bias} "
        'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 } }'
    )
    operators, _ = fitted(make(one_layer(body, (2, groups * 2, 7, 5))))
    assert operators.count("Conv") == convs


@pytest.mark.parametrize(
    "param",
    [
        "kernel_size: 3 stride: 2",
        "kernel_h: 2 kernel_w: 3 pad_h: 0 pad_w: 1",
        "kernel_size: 3 pad: 1",
    ],
)
def test_the_mask_of_a_pooling(param):
    body = f'type: "Pooling" pooling_param {{ pool: MAX {param} }}'
    operators, model = fitted(make(one_layer(body, (2, 3, 8, 7), top=["y", "mask"])))
    assert operators.count("MaxPool") == 1
    assert all(len(node.output) == 1 for node in model.graph.node)
