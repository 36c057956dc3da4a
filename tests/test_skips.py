"""Where every extra must be there, a test that is skipped for lack of a package fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import collect_ignore

TESTS = {
    "a test": "def test():\n    pytest.importorskip('no_such_package')\n",
    "a module": "pytest.importorskip('no_such_package')\n",
}


@pytest.mark.skipif(bool(collect_ignore), reason="an extra is missing")
@pytest.mark.parametrize(("where", "every"), [("a test", ""), ("a test", "1"), ("a module", "1")])
def test_a_skip_for_lack_of_a_package_fails_on_request(tmp_path, where, every):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(f"import pytest\n\n\n{TESTS[where]}")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            tmp_path,
        ],
        env={**os.environ, "CAFFE_COMPAT_EVERY_EXTRA": every},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("failed" in run.stdout or "error" in run.stdout) == bool(every), run.stdout
    assert "could not import 'no_such_package'" in run.stdout or not every
