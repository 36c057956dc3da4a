"""Read, convert and verify every prototxt under a folder, and count what stands in the way.

    python benchmarks/corpus.py DIR [--sample N --seed S] [--jobs J] [--no-verify] [--json F]

Each net file is converted by `caffe-compat convert FILE -o OUT.onnx --verify`, in a process of its
own with its time and memory bounded. Where that is refused and the refusal prints a command (`try:
caffe-compat ...`), this command is run as it is printed. A file counts once, however often it
occurs; solvers, label maps and what is no net do not count. A net of which half of the layers or
more were left out is not read.

The table has one column for all files and one for those called deploy: read by the first command,
by the printed one, refused by cause, wrong against onnxruntime, and the share of the layers kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "caffe_compat.converters"]
KINDS = ("first", "hint", "wrong", "half", "refused", "unfinished")

# A net has layers or inputs; a solver and a label map have neither.
_NET = re.compile(r"^\s*(?:layers?\s*:?\s*\{|input\s*:)", re.MULTILINE)
_LEFT = re.compile(r"left out (\d+) of (\d+) layers: (.*)")
_SCORE = re.compile(r"\(\w*(?:loss|accuracy|eval|silence)\w*\)", re.IGNORECASE)

_MEMORY = re.compile(r"not enough memory|MemoryError|Unable to allocate|Failed to allocate memory")

# The causes of refusals, the first that matches the error's line.
_CAUSES = {
    "Python layer": r"\(Python\): unknown layer type",
    "unknown layer type": r"unknown layer type",
    "no shape for an input": r"is not in the prototxt",
    "unknown field or value": r"has no (?:field|value)",
    "bottom that no layer makes": r"unknown bottom blob",
    "differs among forks": r"differs among forks",
    "no ONNX form": r"no (?:exact )?ONNX form",
    "no prototxt of Caffe's": r"prototxt:\d+:\d+|not a Caffe net|mixes|both 'layer'",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        file: its path below the folder.
        kind: `first` (read and right by the first command), `hint` (by the printed one), `wrong`
            (numpy and onnxruntime differ), `half` (read, but half of it was left out), `refused`,
            or `unfinished` (out of time or memory).
        verified: whether onnxruntime ran it; False where the comparison ran out of time or memory.
        kept: the share of the layers that were converted, without losses and accuracies.
        command: the printed command, if there is one.
        error: the last command's error.
    """

    file: str
    kind: str
    verified: bool = False
    kept: float = 1.0
    command: str = ""
    error: str = ""

    @property
    def is_deploy(self) -> bool:
        """Whether the file is called deploy."""
        return "deploy" in self.file.rsplit("__", 1)[-1].rsplit("/", 1)[-1].lower()

    @property
    def cause(self) -> str:
        """The cause of the refusal, in a few words."""
        for cause, pattern in _CAUSES.items():
            if re.search(pattern, self.error):
                return cause
        words = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\d+|\([^)]*\)", "", self.error)
        return " ".join(words.replace("error:", "").split())[:60] or "no message"


@dataclass(frozen=True)
class Bounds:
    """The limits of one process, and whether outputs are compared."""

    seconds: float
    gigabytes: float
    verify: bool = True


def run(words: Sequence[str], bounds: Bounds) -> tuple[int | None, str]:
    """Run a command in a process of its own.

    Returns:
        Its exit status, None if it ran out of time, and what it printed.
    """

    def limit() -> None:
        most = int(bounds.gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "10000"}
    try:
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=bounds.seconds,
            preexec_fn=limit,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout


def convert(words: Sequence[str], bounds: Bounds, name: str, kind: str) -> Outcome:
    """Convert and verify by one command; without the comparison if that takes too long."""
    status, text = run([*words, "--verify"], bounds) if bounds.verify else (None, "")
    verified = status is not None and not _MEMORY.search(text)
    if not verified:
        status, text = run(words, bounds)
    kept = _kept(text)
    command = re.search(r"^try: caffe-compat (.*)$", text, re.MULTILINE)
    printed = command[1] if command else ""
    errors = [line for line in text.splitlines() if line.startswith("error:")] or text.splitlines()
    if "NOT verified" in text:
        kind, errors = "wrong", [line for line in text.splitlines() if "NOT verified" in line]
    elif status is None or status < 0 or _MEMORY.search(text):
        kind = "unfinished"
    elif status:
        kind = "refused"
    elif kept <= 0.5:
        kind, errors = "half", [line for line in text.splitlines() if "left out" in line]
    else:
        errors = []
    return Outcome(name, kind, verified, kept, printed, errors[-1] if errors else "")


def _kept(text: str) -> float:
    """Return the share of the layers that a conversion kept, losses and accuracies aside."""
    left = _LEFT.search(text)
    if not left:
        return 1.0
    scores = len(_SCORE.findall(left[3]))
    return 1 - (int(left[1]) - scores) / max(1, int(left[2]) - scores)


def examine(path: Path, root: Path, bounds: Bounds) -> Outcome:
    """Convert a file by the first command, and by the one that its refusal prints."""
    name = str(path.relative_to(root))
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "net.onnx")
        outcome = convert([*COMMAND, "convert", str(path), "-o", output], bounds, name, "first")
        if outcome.kind == "refused" and outcome.command:
            printed = [word for word in shlex.split(outcome.command) if word != "--verify"]
            words = [*COMMAND, *printed]
            second = convert(words, bounds, name, "hint")
            outcome = Outcome(**{**asdict(second), "command": outcome.command})
    return outcome


def nets(root: Path) -> Iterator[Path]:
    """Yield the distinct net files below a folder."""
    seen: set[str] = set()
    for path in sorted(root.rglob("*.prototxt")):
        data = path.read_bytes()
        digest = hashlib.sha1(data).hexdigest()
        if digest not in seen and b"\0" not in data and _NET.search(data.decode("latin-1")):
            seen.add(digest)
            yield path


def report(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of the table."""
    groups = {"all": outcomes, "deploy": [each for each in outcomes if each.is_deploy]}
    yield f"{'':34}" + "".join(f"{name:>16}" for name in groups)
    yield _row("net files", (f"{len(group)}" for group in groups.values()))
    labels = {
        "first": "read by the first command",
        "hint": "read by the printed command",
        "half": "half of it left out",
        "wrong": "wrong against onnxruntime",
        "refused": "refused",
        "unfinished": "out of time or memory",
    }
    for kind, label in labels.items():
        yield _row(label, (_share(group, [kind]) for group in groups.values()))
    yield _row("read in all", (_share(group, ["first", "hint"]) for group in groups.values()))
    read = [each for each in outcomes if each.kind in ("first", "hint")]
    if read:
        whole = sum(each.kept == 1 for each in read)
        most = sum(0.9 <= each.kept < 1 for each in read)
        yield f"of {len(read)} read: {whole} whole, {most} with 90 % of the layers or more,"
        yield f"    {len(read) - whole - most} with less; {sum(e.verified for e in read)} verified"
    options: Counter[str] = Counter()
    for each in read:
        if each.kind == "hint":
            options.update(set(re.findall(r" (--[a-z][\w-]+)", each.command)))
    yield "options of the printed commands: " + _count(options)
    causes: dict[str, list[Outcome]] = {}
    for each in outcomes:
        if each.kind not in ("first", "hint"):
            causes.setdefault(f"{each.kind}: {each.cause}", []).append(each)
    for cause, group in sorted(causes.items(), key=lambda item: -len(item[1])):
        yield f"{len(group):5}  {cause}  ({group[0].file[-60:]})"


def _row(label: str, cells: Iterable[str]) -> str:
    return f"{label:34}" + "".join(f"{cell:>16}" for cell in cells)


def _share(group: Sequence[Outcome], kinds: Sequence[str]) -> str:
    count = sum(each.kind in kinds for each in group)
    return f"{count} ({count / max(1, len(group)):.1%})"


def _count(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, help="this many files, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time")
    parser.add_argument("--seconds", type=float, default=120, help="for one process")
    parser.add_argument("--gigabytes", type=float, default=8, help="for one process")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="only convert")
    parser.add_argument("--json", type=Path, help="write a line for each file")
    options: Any = parser.parse_args(arguments)
    paths = list(nets(options.folder))
    if options.sample is not None and options.sample < len(paths):
        paths = sorted(random.Random(options.seed).sample(paths, options.sample))
    bounds = Bounds(options.seconds, options.gigabytes, options.verify)
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda path: examine(path, options.folder, bounds), paths):
            outcomes.append(outcome)
            done = f"{len(outcomes)}/{len(paths)} {outcome.kind} {outcome.file[-60:]}"
            print(done, file=sys.stderr, flush=True)
            if options.json:
                with options.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome) | {"cause": outcome.cause}) + "\n")
    for line in report(outcomes):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
