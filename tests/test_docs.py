"""The pages that are generated from the code are current, and what the others show is real."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

import caffe_compat
from caffe_compat.layers.registry import registry
from caffe_compat.onnx.lowering import lower

from .cases import GOLDEN, make

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BVLC = (GOLDEN / "bvlc_types.txt").read_text("utf-8").split()
BLOCK = re.compile(
    r"^```(prototxt|python|console)(?: title=\"([^\"\n]*)\")?\n(.*?)^```$", re.M | re.S
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
# The pages whose examples run, on O-Net as net.prototxt and net.caffemodel.
PAGES = ["../README", "convert", "doctor", "initialisation", "library"]


def test_every_type_of_bvlc_caffe_is_known():
    assert set(BVLC) <= set(registry())


def test_layers_page_has_every_operator_that_the_golden_cases_need():
    listed = {}
    for entry in (DOCS / "layers.md").read_text("utf-8").split("\n### ")[1:]:
        kinds = entry.splitlines()[0].partition(" (")[0].split(", ")
        (line,) = (line for line in entry.splitlines() if line.startswith("- ONNX: "))
        for kind in kinds:
            listed.setdefault(kind, set()).update(line.removeprefix("- ONNX: ").split(", "))
    cases = [*(GOLDEN / "layers").iterdir(), *(GOLDEN / "layers_ssd").iterdir()]
    for folder in cases:
        net = make((folder / "net.prototxt").read_text("utf-8"))
        known = set().union(*(listed[node.layer.proto.type] for node in net.graph.nodes))
        used = {node.op_type for node in lower(net).model.graph.node}
        assert used - {"Identity"} <= known, folder.name


def test_layers_page_is_current():
    page = runpy.run_path(str(DOCS / "make_layers.py"))["page"]()
    assert (DOCS / "layers.md").read_text("utf-8") == page
    bvlc, forks = page.split("## Forks")
    entries = [line[4:].split(", ") for line in bvlc.splitlines() if line.startswith("### ")]
    assert sorted(kind for kinds in entries for kind in kinds) == sorted(BVLC)
    for entry in forks.split("### ")[1:]:
        assert "- from: " in entry, entry.splitlines()[0]


def test_api_page_has_every_public_name():
    text = (DOCS / "api.md").read_text("utf-8")
    names = re.findall(r"^(?:::: |`)caffe_compat\.(\w+)", text, re.M)
    assert sorted(names) == sorted(caffe_compat.__all__)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files that the pages use."""
    onet = ROOT / "examples/mtcnn/models/det3"
    shutil.copy(onet / "net.prototxt", tmp_path)
    shutil.copy(onet / "weights.caffemodel", tmp_path / "net.caffemodel")
    shutil.copy(ROOT / "examples/mtcnn/astronaut.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_examples(page, here, run, capsys):
    """Run a page's examples from top to bottom; they print what the page shows."""
    names = {}
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))
    assert blocks
    for language, title, body in blocks:
        if title:
            (here / title).write_text(body, encoding="utf-8")
        elif language == "python":
            exec(compile(body, page, "exec"), names)
            comments = re.findall(r"^print\(.*\)  # (.*)$", body, re.M)
            assert [*map(str.strip, capsys.readouterr().out.splitlines())] == comments
        elif language == "console":
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", body, re.M):
                _, out, err = run(*shlex.split(command)[1:])
                printed = "".join(f"{line.rstrip()}\n" for line in (out + err).splitlines())
                assert_same(printed, shown)


def assert_same(printed, shown):
    """Compare words exactly, and numbers as far as they are the same on every machine."""
    # The blob with the largest difference, and the difference itself, are the machine's.
    printed, shown = (re.sub(r"(?<=, at )'.*'", "''", text) for text in (printed, shown))
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    pairs = [
        tuple(float(number.replace(",", "")) for number in NUMBER.findall(text))
        for text in (printed, shown)
    ]
    assert pairs[0] == pytest.approx(pairs[1], rel=5e-3, abs=1e-4)
