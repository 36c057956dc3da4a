"""docs/pytorch.md: its examples run, and print what it shows."""

from __future__ import annotations

import re
import shutil

from ..test_docs import DOCS, ROOT


def test_page(tmp_path, monkeypatch, capsys):
    onet = ROOT / "examples/mtcnn/models/det3"
    shutil.copy(onet / "net.prototxt", tmp_path)
    shutil.copy(onet / "weights.caffemodel", tmp_path / "net.caffemodel")
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "pytorch.md").read_text("utf-8"), re.M | re.S
    )
    assert len(blocks) >= 4
    for body in blocks:
        exec(compile(body, "pytorch.md", "exec"), names)
        shown = re.findall(r"^print\(.*\)  # (.*)$", body, re.M)
        assert [*map(str.strip, capsys.readouterr().out.splitlines())] == shown
    assert (tmp_path / "tuned.caffemodel").stat().st_size > 100_000
