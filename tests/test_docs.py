"""The pages that are made from the code are current, and the README's commands are real."""

from __future__ import annotations

import runpy
from pathlib import Path

from caffe_compat.layer import registry

from .cases import GOLDEN

DOCS = Path(__file__).parents[1] / "docs"
BVLC = (GOLDEN / "bvlc_types.txt").read_text().split()


def test_every_type_of_bvlc_caffe_is_known():
    assert set(BVLC) <= set(registry())


def test_layers_page_is_current():
    page = runpy.run_path(str(DOCS / "make_layers.py"))["page"]()
    assert (DOCS / "layers.md").read_text() == page
    bvlc, forks = page.split("## Forks")
    entries = [line[4:].split(", ") for line in bvlc.splitlines() if line.startswith("### ")]
    assert sorted(kind for kinds in entries for kind in kinds) == sorted(BVLC)
    for entry in forks.split("### ")[1:]:
        assert "- from: " in entry, entry.splitlines()[0]
