"""What is installed agrees with what the code and the written pages claim."""

from __future__ import annotations

import re
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from caffe_compat.converters import cli

import caffe_compat

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / ".ci/run"]


def test_version_is_stated_once():
    # An outdated editable install fails too: run `pip install -e .` again.
    assert version("caffe_compat") == caffe_compat.__version__


def test_command():
    (command,) = entry_points(group="console_scripts", name="caffe-compat")
    assert command.load() is cli.main


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_extra_that_a_page_installs_exists(page):
    facts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"^\[project.optional-dependencies\]\n(.*?)^\[", facts, re.M | re.S)
    text = page.read_text(encoding="utf-8")
    groups = re.findall(r"(?:caffe_compat|['\" ]\.|\.whl\))\[([\w,-]+)\]", text)
    named = {name for group in groups for name in group.split(",")}
    assert named <= set(re.findall(r"^(\w+) = \[", section, re.M))
    assert page.name != "README.md" or {"cpu", "gpu", "test"} <= named
