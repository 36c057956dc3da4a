"""What every test runs under: repeatable examples, and the command as a fixture."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from hypothesis import settings

if importlib.util.find_spec("caffe_compat.converters") is None:
    # A plain install: the checkout's caffe_compat hides it, and its converters/ lies elsewhere.
    pytest.exit("the tests need an editable install: pip install -e '.[cpu,test]'", returncode=2)

# The same examples on every machine and at every run; a busy machine fails no test.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command; gives its exit status, standard output and standard error."""
    from caffe_compat.converters import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["caffe-compat", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call
