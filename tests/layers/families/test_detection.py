"""The layers of the SSD branch that only training and its tests have."""

from __future__ import annotations

import pytest

from caffe_compat.errors import UnsupportedError

from ...cases import graph_of
from .test_detection_output import detection
from .test_prior_box import blob, layer

LOSS = (
    blob("a", 2, 8)
    + blob("b", 2, 6)
    + blob("c", 1, 2, 8)
    + blob("t", 1, 1, 3, 8)
    + layer("MultiBoxLoss", "abct", "PHASE multibox_loss_param { num_classes: 3 }")
)


@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_the_training_loss_is_refused(phase):
    with pytest.raises(UnsupportedError, match=r"'l' \(MultiBoxLoss\): is SSD's training loss"):
        graph_of(LOSS.replace("PHASE", ""), phase=phase)


def test_the_training_loss_drops_out():
    graph = graph_of(LOSS.replace("PHASE", "include { phase: TRAIN }"))
    assert [node.layer.type for node in graph.nodes] == ["Input"] * 4


def test_evaluation_is_refused():
    text = (
        detection("")
        + blob("t", 1, 1, 3, 8)
        + layer("DetectionEvaluate", "yt", "detection_evaluate_param { num_classes: 3 }", "e", "e")
    )
    with pytest.raises(UnsupportedError, match=r"'e' \(DetectionEvaluate\): .* 'y' is an output"):
        graph_of(text)
