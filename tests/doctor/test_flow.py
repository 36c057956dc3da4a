"""Where a signal is lost: ways through sums, gates and concatenations."""

from __future__ import annotations

import pytest

from caffe_compat.doctor.bench import Bench
from caffe_compat.doctor.flow import Flow, distance
from caffe_compat.doctor.variants import with_batch_statistics

from ..cases import graph_of
from .nets import findings, one, paste, stack
from .zoo import MSRA, PRELU, Pen, gaussian


def flow_of(text) -> Flow:
    return Bench(range(1), "fast", None).measure(with_batch_statistics(graph_of(text)))


def blocks(count, filler, *, normal=False, act=PRELU):
    """Residual blocks of two layers, which are added to their input (report 38)."""
    pen = Pen("blocks", channels=16, size=12, filler=filler, act=act)
    x = "data"
    for _ in range(count):
        y = pen.conv(pen.act_(pen.conv(x, 16)), 16)
        x = pen.add(x, pen.norm(y) if normal else y)
    return pen.text


def test_branches_that_add_little_are_sound():
    text = blocks(12, gaussian(0.01))
    ahead, back = flow_of(text).arrivals()
    assert ahead == pytest.approx(1, rel=0.05)
    assert back == pytest.approx(1, rel=0.05)
    assert findings(text) == {}


def test_branches_that_each_double_the_variance_are_not():
    text = blocks(12, 'type: "msra" a: 0.25')
    flow = flow_of(text)
    assert "forward" in {loss.way for loss in flow.losses()}
    (finding,) = findings(text).values()
    assert finding.rule == "residual"
    assert finding.severity == "severe"
    assert len(finding.layers) == 12
    assert "12 branches, which each add 1" in finding.message
    assert "12 sums in series" in finding.message
    ahead, back = finding.remedy.effects
    assert ahead.before > 1e3
    assert 0.1 < ahead.after < 10
    assert 0.1 < back.after < 10
    assert findings(paste(text, finding.remedy)) == {}


def test_a_normalised_branch_adds_one_each():
    flow = flow_of(blocks(12, gaussian(0.01), normal=True))
    assert flow.losses() == ()
    assert 5 < flow.arrivals()[0] < 14  # 1 of the data and 1 of each block, less BatchNorm's eps


def test_what_a_normalisation_mends_is_no_loss():
    text = stack(10, gaussian(0.001), end=False)
    assert flow_of(text).losses()
    for i in range(1, 11):
        norm = f'layer {{ name: "n{i}" type: "BatchNorm" bottom: "conv{i}" top: "conv{i}" }}\n'
        at = text.index(f'layer {{ name: "act{i}"')
        text = text[:at] + norm + text[at:]
    assert findings(text) == {}


def test_a_chain_beside_a_shortcut():
    """The data reach the end around a chain that is lost, and around one that explodes not."""

    def net(std):
        pen = Pen("shortcut", channels=16, filler=gaussian(std))
        x = "data"
        for _ in range(6):
            x = pen.act_(pen.conv(x, 16))
        pen.fc(pen.add("data", x))
        return pen.text

    assert flow_of(net(0.01)).losses() == ()
    assert {loss.way for loss in flow_of(net(1.0)).losses()} == {"forward", "backward"}


@pytest.mark.parametrize("gate", ["Sigmoid", "TanH"])
def test_a_gate_that_is_shut_for_lack_of_signal_passes_the_rest(gate):
    pen = Pen("gates", channels=16, filler=MSRA)
    x = "data"
    for _ in range(3):
        y = pen.act_(pen.conv(x, 16))
        shut = pen.layer(gate, pen.fc(pen.spread(y), 16, gaussian(1e-6)))
        x = pen.layer("Scale", y, shut, more="scale_param { axis: 0 }")
    pen.fc(x)
    # Half of the amplitude passes a sigmoid of 0, and nothing a tanh of 0.
    assert bool(flow_of(pen.text).losses()) == (gate == "TanH")


def test_several_ends_count_alike():
    pen = Pen("ends", channels=16)
    x = pen.act_(pen.conv("data", 16))
    pen.conv(x, 40, 1)
    pen.fc(x, 2)
    flow = flow_of(pen.text)
    shares = [flow.backward[end.name] for end in flow.ends]
    assert shares == [pytest.approx(0.5, rel=0.5), pytest.approx(0.5, rel=0.5)]


def test_an_input_in_other_units_is_measured_after_the_scale():
    scaled = (
        'layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 0.004 } }\n'
    )
    text = stack(3).replace('bottom: "data"', 'bottom: "p"', 1)
    at = text.index('layer { type: "Convolution"')
    assert flow_of(text[:at] + scaled + text[at:]).losses() == ()


def test_distance():
    assert [distance(level) for level in (1.0, 4.0, 0.25, 0.0)] == [1, 4, 4, float("inf")]


def test_one_layer_alone():
    conv = (
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { '
        'num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 1e-5 } } }'
    )
    assert findings(one(conv)) == {}
