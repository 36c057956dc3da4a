"""The setting of every test: repeatable examples, the extras, and the command as a fixture."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from hypothesis import settings

if importlib.util.find_spec("caffe_compat.converters") is None:
    # The checkout's caffe_compat hides an installed one, and has no converters/ in it.
    pytest.exit("the tests need an editable install: pip install -e '.[cpu,test]'", returncode=2)

# Folders of tests that need an extra are not collected without the package that it brings.
EXTRAS = {"torch": "torch", "data": "lmdb", "pycaffe": "fissix"}
collect_ignore = [
    folder for folder, package in EXTRAS.items() if importlib.util.find_spec(package) is None
]

# The same examples on every machine and in every run; no deadline, so a busy machine fails no test.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the command: its exit status, standard output and error."""
    from caffe_compat.converters import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["caffe-compat", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call
