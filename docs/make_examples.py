"""Rewrite the outputs in the pages' examples; run as `python docs/make_examples.py`.

The examples of a page run from top to bottom in a folder of their own, which contains MTCNN's O-Net
as net.prototxt and net.caffemodel, and astronaut.png.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/mtcnn"
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / f"docs/{name}.md"
        for name in (
            "convert",
            "custom",
            "doctor",
            "initialisation",
            "library",
            "surgery",
            "training",
        )
    ),
]
BLOCK = re.compile(r'^```(prototxt|python|console)(?: title="([^"\n]*)")?\n(.*?)^```$', re.M | re.S)


def run_examples(page: Path) -> str:
    """Run a page's examples; return its text with their output."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(EXAMPLE / "models/det3/net.prototxt", folder)
        shutil.copy(EXAMPLE / "models/det3/weights.caffemodel", Path(folder, "net.caffemodel"))
        shutil.copy(EXAMPLE / "astronaut.png", folder)
        names: dict[str, object] = {}
        os.chdir(folder)
        try:
            return BLOCK.sub(lambda block: _run(block, names), page.read_text("utf-8"))
        finally:
            os.chdir(before)


def _run(block: re.Match[str], names: dict[str, object]) -> str:
    language, title, body = block.groups()
    if title:
        Path(title).write_text(body, "utf-8")
    elif language == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(body, names)
        lines = iter(out.getvalue().splitlines())
        body = re.sub(
            r"^(print\(.*\)  # ).*$", lambda call: call[1] + next(lines), body, flags=re.M
        )
    else:
        commands = re.findall(r"^\$ caffe-compat (.*)$", body, re.M)
        refused = "\nerror: " in body
        outputs = [_output(command, refused=refused) for command in commands]
        body = "".join(f"$ caffe-compat {c}\n{o}" for c, o in zip(commands, outputs, strict=True))
    return block[0].replace(block[3], body)


def _output(command: str, *, refused: bool) -> str:
    """Return the output of a command, then its errors; the doctor's status 3 is no failure."""
    child = subprocess.run(
        [sys.executable, "-m", "caffe_compat.converters", *shlex.split(command)],
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    if child.returncode not in ((1,) if refused else (0, 3)):
        raise SystemExit(f"caffe-compat {command}: {child.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in (child.stdout + child.stderr).splitlines())


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(run_examples(page), "utf-8")
        sys.stdout.write(f"{page}\n")


if __name__ == "__main__":
    main()
