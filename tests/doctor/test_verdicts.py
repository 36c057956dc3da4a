"""The doctor's verdict beside recorded facts: `benchmarks/verdicts.py` measured and trained."""

from __future__ import annotations

import json
import runpy
from statistics import median

import pytest

from caffe_compat.doctor import examine
from caffe_compat.doctor.flow import HIGH, LOW, TAMED

from ..cases import GOLDEN, graph_of
from .zoo import NETS

FACTS = json.loads((GOLDEN / "doctor/facts.json").read_text())
SCRIPT = runpy.run_path(str(GOLDEN.parents[1] / "benchmarks/verdicts.py"))
LEARNT = SCRIPT["LOWERED"]  # of the loss of guessing


def test_the_page_is_current():
    assert SCRIPT["PAGE"].read_text("utf-8") == SCRIPT["page"](FACTS)


def test_every_net_was_recorded():
    assert list(FACTS) == list(NETS)
    assert sum(fact["loss"] < LEARNT for fact in FACTS.values()) > 25


@pytest.mark.parametrize("name", NETS)
def test_the_verdict_agrees_with_training(name):
    diagnosis = examine(graph_of(NETS[name]()), trials=1)
    assert diagnosis.severe == (FACTS[name]["loss"] >= LEARNT)


@pytest.mark.parametrize("name", NETS)
def test_the_verdict_agrees_with_the_signals(name):
    """On pictures, the median of five seeds: lost where the doctor says so, and only there."""
    ahead, back = (median(FACTS[name][way]) for way in ("forward", "backward"))
    alive = LOW <= ahead <= HIGH and LOW <= back <= TAMED
    assert alive == (FACTS[name]["loss"] < LEARNT)


@pytest.mark.parametrize("name", ["plain-22 xavier", "SphereFace-20", "sick: gaussian 0.3", "ENet"])
def test_four_pictures_tell_what_ten_do(name):
    few, many = (
        examine(graph_of(NETS[name]().replace("shape { dim: 4", f"shape {{ dim: {n}")), trials=1)
        for n in (4, 10)
    )
    for one, other in zip(few.findings, many.findings, strict=True):
        assert (one.rule, one.severity, one.layers) == (other.rule, other.severity, other.layers)
        assert (one.remedy and one.remedy.changes) == (other.remedy and other.remedy.changes)
