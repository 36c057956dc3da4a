"""The log, line by line beside real Caffe's."""

from __future__ import annotations

import re

import pytest

from .cases import ENGINES, LOGS, solver

GLOG = re.compile(r"([IWE])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\S+):\d+\] (.*)", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def logged(folder, tmp_path, engine, start="Solving"):
    lines = []
    trained = solver(folder, prefix="snap", log=lines.append, engine=engine)
    trained.param.snapshot_prefix = str(tmp_path / "snap")
    trained.solve()
    parts = [GLOG.fullmatch(line).groups() for line in lines]
    plain = [f"{severity} {source}] {text}" for severity, source, text in parts]
    return plain[next(i for i, line in enumerate(plain) if start in line) :]


@pytest.mark.parametrize("name", ["log", "plateau"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_line_is_caffes(name, engine, tmp_path):
    want = (LOGS / name / "caffe.log").read_text().splitlines()
    got = [line.replace(f"{tmp_path}/", "") for line in logged(LOGS / name, tmp_path, engine)]
    if name == "plateau":  # the SSD branch does not measure its speed
        got = [re.sub(r" \([^)]* iters\)", "", line) for line in got]
        want = [line for line in want if "Restoring" not in line]
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        assert NUMBER.sub("#", mine) == NUMBER.sub("#", theirs)
        if "iter/s" in mine:
            mine, theirs = (re.sub(r"\(.*iters\)", "", line) for line in (mine, theirs))
        for a, b in zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True):
            assert abs(float(a) - float(b)) <= 2e-5 * max(abs(float(b)), 1e-3), (mine, theirs)
