"""What the layers of a training net are for, by their names."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import EltwiseParameter, LayerParameter
from caffe_compat.net.roles import (
    is_evaluation,
    is_loss,
    is_mask,
    is_score,
    prediction,
    samples_proposals,
    scores_only,
)

from ..cases import graph_of


def of_type(name):
    """Return a layer of a type, and a Python layer whose class has the same name."""
    python = LayerParameter(type="Python")
    python.python_param.layer = name
    return LayerParameter(type=name), python


@pytest.mark.parametrize(
    ("name", "loss", "evaluation"),
    [
        ("SoftmaxWithLoss", True, False),
        ("smoothL1LossLayer", True, False),
        ("Accuracy", False, True),
        ("DetectionEvaluate", False, True),
        ("AnchorTargetLayer", False, True),
        ("HDF5Output", False, True),
        ("HDF5OutputOfAnother", False, False),
        ("InnerProduct", False, False),
    ],
)
def test_losses_and_evaluations(name, loss, evaluation):
    for layer in of_type(name):
        assert (is_loss(layer), is_evaluation(layer)) == (loss, evaluation)
        assert is_score(layer) == (loss or evaluation)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SoftmaxWithLoss", "Softmax"),
        ("InfogainLoss", "Softmax"),
        ("SigmoidCrossEntropyLoss", "Sigmoid"),
        ("EuclideanLoss", ""),
        ("Softmax", ""),
    ],
)
def test_what_a_loss_compares(name, kind):
    layer, python = of_type(name)
    assert (prediction(layer), prediction(python)) == (kind, "")


def test_masks_are_products():
    layer = LayerParameter(type="Eltwise")
    assert not is_mask(layer)
    layer.eltwise_param.operation = EltwiseParameter.PROD
    assert is_mask(layer)
    layer.type = "Power"
    assert not is_mask(layer)


def test_samplers_of_proposals():
    for layer in of_type("ProposalTargetLayer"):
        assert not samples_proposals(layer)
        layer.bottom[:], layer.top[:] = ["rois"], ["some"]
        assert samples_proposals(layer)


def test_nets_of_scores_alone():
    head = 'input: "x" input_shape { dim: 2 dim: 3 } input: "y" input_shape { dim: 2 }'
    loss = ' layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "l" }'
    relu = ' layer { name: "r" type: "ReLU" bottom: "x" top: "r" }'
    assert scores_only(graph_of(head + loss))
    assert not scores_only(graph_of(head + loss + relu))
    assert not scores_only(graph_of(head))
