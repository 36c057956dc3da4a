"""The pages that are made from the code are current, and the README's commands are real."""

from __future__ import annotations

import runpy
from pathlib import Path

from caffe_compat.layers.registry import registry
from caffe_compat.onnx.lowering import lower

from .cases import GOLDEN, make

DOCS = Path(__file__).parents[1] / "docs"
BVLC = (GOLDEN / "bvlc_types.txt").read_text().split()


def test_every_type_of_bvlc_caffe_is_known():
    assert set(BVLC) <= set(registry())


def test_layers_page_has_every_operator_that_the_golden_cases_need():
    listed = {}
    for entry in (DOCS / "layers.md").read_text().split("\n### ")[1:]:
        kinds = entry.splitlines()[0].partition(" (")[0].split(", ")
        (line,) = (line for line in entry.splitlines() if line.startswith("- ONNX: "))
        for kind in kinds:
            listed.setdefault(kind, set()).update(line.removeprefix("- ONNX: ").split(", "))
    cases = [*(GOLDEN / "layers").iterdir(), *(GOLDEN / "layers_ssd").iterdir()]
    for folder in cases:
        net = make((folder / "net.prototxt").read_text())
        known = set().union(*(listed[node.layer.proto.type] for node in net.graph.nodes))
        used = {node.op_type for node in lower(net).model.graph.node}
        assert used - {"Identity"} <= known, folder.name


def test_layers_page_is_current():
    page = runpy.run_path(str(DOCS / "make_layers.py"))["page"]()
    assert (DOCS / "layers.md").read_text() == page
    bvlc, forks = page.split("## Forks")
    entries = [line[4:].split(", ") for line in bvlc.splitlines() if line.startswith("### ")]
    assert sorted(kind for kinds in entries for kind in kinds) == sorted(BVLC)
    for entry in forks.split("### ")[1:]:
        assert "- from: " in entry, entry.splitlines()[0]
