"""The setting of every test: repeatable examples, the extras, and the command as a fixture."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
from hypothesis import settings

if importlib.util.find_spec("caffe_compat.converters") is None:
    # The checkout's caffe_compat hides an installed one, and has no converters/ in it.
    pytest.exit("the tests need an editable install: pip install -e '.[cpu,test]'", returncode=2)

# Folders of tests that need an extra are not collected without the package that it brings.
EXTRAS = {"torch": "torch", "data": "lmdb", "hostile": "lmdb", "pycaffe": "fissix"}
collect_ignore = [
    folder for folder, package in EXTRAS.items() if importlib.util.find_spec(package) is None
]

# Set where every extra is installed, as in CI: a test that is skipped for lack of a package fails.
EVERY_EXTRA = bool(os.environ.get("CAFFE_COMPAT_EVERY_EXTRA"))
if EVERY_EXTRA and collect_ignore:
    pytest.exit(f"not installed: {', '.join(EXTRAS[each] for each in collect_ignore)}", 2)

# The same examples on every machine and in every run; no deadline, so a busy machine fails no test.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def _fail_if_skipped(report):
    if EVERY_EXTRA and report.skipped and "could not import" in str(report.longrepr):
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Fail a test that is skipped for a package that an extra brings."""
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Fail a module of tests that is skipped likewise."""
    return _fail_if_skipped((yield))


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
