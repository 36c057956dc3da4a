"""The pages that are generated from the code are current, and what the others show is real."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from caffe_compat.converters import cli

import caffe_compat
from caffe_compat.layers.registry import registry
from caffe_compat.onnx.lowering import lower

from .cases import GOLDEN, make

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BVLC = (GOLDEN / "bvlc_types.txt").read_text("utf-8").split()
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
EXAMPLES = runpy.run_path(str(DOCS / "make_examples.py"))


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
        if "weiliu89/caffe, branch ssd" not in entry and "BVLC/caffe" not in entry:
            evidence = ("- recorded: " in entry, "by reading alone" in entry)
            assert sum(evidence) == 1, entry


def test_every_recorded_case_names_its_repository():
    listed = (GOLDEN / "fork_cases.txt").read_text("utf-8").splitlines()
    assert [line.split()[0] for line in listed] == sorted(
        folder.name for folder in (GOLDEN / "layers_forks").iterdir()
    )


def test_api_page_has_every_public_name():
    text = (DOCS / "api.md").read_text("utf-8")
    names = re.findall(r"^(?:::: |`)caffe_compat\.(\w+)", text, re.M)
    assert sorted(names) == sorted(caffe_compat.__all__)


@pytest.mark.parametrize("page", EXAMPLES["PAGES"], ids=lambda page: page.name)
def test_examples_print_what_the_page_shows(page):
    """If a message has changed on purpose, run `python docs/make_examples.py`."""
    if page.name == "data.md":
        pytest.importorskip("lmdb")
        pytest.importorskip("cv2")
    assert_same(EXAMPLES["run_examples"](page), page.read_text("utf-8"))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name
)
def test_every_option_that_a_page_names_is_there(page):
    """Of pages whose commands need another machine, or minutes, too."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"(?:caffe-compat|caffe_compat\.converters) ([a-z-]+(?: .*)?)", text)
    for line in commands:
        words = line.partition("#")[0].partition("`")[0].split()
        command, words = cli.load_command(words[0]), words[1:]
        if hasattr(command, "commands") and words and not words[0].startswith("-"):
            command = command.commands[words[0]]
        known = {option for each in command.params for option in each.opts + each.secondary_opts}
        named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert named <= known | {"--help"}, line


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


def test_the_page_on_looking_is_current(tmp_path):
    pytest.importorskip("fast_sugiyama", exc_type=ImportError)  # it has no build for Python 3.10
    look = runpy.run_path(str(DOCS / "make_look.py"))
    assert (DOCS / "look.md").read_text() == look["page"]()
    for path in look["draw"](tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")
    shown = set(re.findall(r"\(pictures/(\w+\.png)\)", (DOCS / "look.md").read_text()))
    assert shown == {path.name for path in (DOCS / "pictures").iterdir()}


def test_every_curve_is_shown():
    shown = re.findall(r"\(curves/(\w+\.png)\)", (DOCS / "training.md").read_text("utf-8"))
    assert sorted(shown) == sorted(path.name for path in (DOCS / "curves").iterdir())
