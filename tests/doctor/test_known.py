"""Nets that end in layers of a fork, and pictures as input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from caffe_compat.doctor import diagnose
from caffe_compat.errors import ShapeError, UnsupportedError

from .nets import one, stack

MARGIN = (
    'layer { name: "margin" type: "%s" bottom: "fc" bottom: "label" top: "m" '
    "margin_inner_product_param { num_output: 10 } }\n"
)
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "m" bottom: "label" top: "loss" }\n'
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'


def write(path, text):
    path.write_text(text)
    return path


def test_a_forks_loss_is_left_away(tmp_path):
    """report 46."""
    body = stack(9, 'type: "xavier"')
    body = body[: body.index('layer { name: "prob"')]
    net = write(tmp_path / "net.prototxt", LABEL + body + MARGIN % "ArcInnerProduct" + LOSS)
    diagnosis = diagnose(net, trials=1)
    assert diagnosis.runs[0].weighted[-1].layer == "fc"
    note = diagnosis.findings[-1]
    assert (note.rule, note.severity, note.layers) == ("unknown", "note", ("margin", "loss"))
    assert "ArcInnerProduct is not computed" in note.message


def test_a_layer_with_a_gradient_of_its_own(tmp_path):
    """Its labels have no gradient; the layers below it do."""
    body = stack(9, 'type: "xavier"')
    body = body[: body.index('layer { name: "prob"')]
    margin = MARGIN.replace("10", '10 weight_filler { type: "xavier" }') % "MarginInnerProduct"
    diagnosis = diagnose(write(tmp_path / "net.prototxt", LABEL + body + margin + LOSS), trials=1)
    assert diagnosis.runs[0].weighted[-1].layer == "fc"
    assert all(signal.gradient > 0 for signal in diagnosis.runs[0].weighted)
    assert "unknown" not in {finding.rule for finding in diagnosis.findings}


def test_an_unknown_layer_in_the_middle_is_refused(tmp_path):
    middle = stack(2).replace('type: "ReLU"', 'type: "Mystery"', 1)
    with pytest.raises(UnsupportedError, match="Mystery"):
        diagnose(write(tmp_path / "net.prototxt", middle))


def test_pictures_are_the_input(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, (20, 22, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    conv = (
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { '
        'num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }'
    )
    net = write(tmp_path / "net.prototxt", one(conv, c=3))
    diagnosis = diagnose(net, trials=1, pictures=tmp_path)
    assert diagnosis.moment == pytest.approx(np.mean(np.arange(256.0) ** 2), rel=0.3)
    with pytest.raises(ShapeError, match="1 or 3 channels"):
        diagnose(write(net, one(conv, c=6)), pictures=tmp_path)


def test_a_large_batch_is_examined_at_four(tmp_path):
    net = write(tmp_path / "net.prototxt", stack(2).replace("dim: 2", "dim: 50", 1))
    small = write(tmp_path / "small.prototxt", stack(2).replace("dim: 2", "dim: 4", 1))
    assert diagnose(net, trials=1).runs == diagnose(small, trials=1).runs
