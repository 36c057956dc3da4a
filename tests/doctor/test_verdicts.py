"""The doctor's verdict beside recorded facts: `benchmarks/verdicts.py` measured and trained."""

from __future__ import annotations

import json

import pytest

from caffe_compat.doctor import examine
from caffe_compat.doctor.flow import HIGH, LOW, TAMED

from ..cases import GOLDEN, graph_of
from .zoo import NETS

FACTS = json.loads((GOLDEN / "doctor/facts.json").read_text())
LEARNT = 0.9  # of the loss of guessing


def test_every_net_was_recorded():
    assert list(FACTS) == list(NETS)
    assert sum(fact["loss"] < LEARNT for fact in FACTS.values()) > 25


@pytest.mark.parametrize("name", NETS)
def test_the_verdict_agrees_with_training(name):
    diagnosis = examine(graph_of(NETS[name]()), trials=1)
    assert diagnosis.severe == (FACTS[name]["loss"] >= LEARNT)


@pytest.mark.parametrize("name", NETS)
def test_the_verdict_agrees_with_the_signals(name):
    """At each of five seeds, on pictures: lost where the doctor says so, and only there."""
    learnt = FACTS[name]["loss"] < LEARNT
    for ahead, back in zip(FACTS[name]["forward"], FACTS[name]["backward"], strict=True):
        alive = LOW <= ahead <= HIGH and LOW <= back <= TAMED
        assert alive == learnt
