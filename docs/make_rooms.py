"""Draw the rooms of caffe_compat from their imports; run as `python docs/make_rooms.py`.

The drawing replaces what stands between two markers in CONTRIBUTING.md. A room is a package or a
module right below caffe_compat/; converters/ is installed as one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
START, END = "<!-- rooms: `python docs/make_rooms.py` -->\n", "<!-- /rooms -->\n"

# From the bottom up: a room imports only from rooms on floors below its own.
FLOORS = (
    ("text", "types", "progress", "caffe_pb2"),
    ("errors",),
    ("memory",),
    ("files",),
    ("npy", "sink"),
    ("fillers", "weights", "prototxt"),
    ("layers",),
    ("net",),
    ("plugin", "onnx"),
    ("options",),
    ("phases", "steps"),
    ("assumption",),
    ("mending",),
    ("packed",),
    ("pipeline",),
    ("upgrading",),
    ("runtime", "torch", "pages"),
    ("images", "data"),
    ("training", "doctor", "dnn"),
    ("pycaffe",),
    ("converters",),
)
# Nearly every room imports these: their arrows would hide the others.
HIDDEN = (*FLOORS[0], *FLOORS[1])


class Import(NamedTuple):
    """An import statement's source and target, as dotted names, and its line."""

    source: str
    target: str
    path: Path
    line: int
    level: int


def imports() -> Iterator[Import]:
    """Yield every import of caffe_compat/ and converters/, those inside functions included."""
    names = dict(_modules())
    for module, path in names.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(module, alias.name, path, node.lineno, 0)
            elif isinstance(node, ast.ImportFrom):
                parents = package.split(".")
                parents = parents[: len(parents) + 1 - node.level] if node.level else []
                home = ".".join([*parents, *filter(None, [node.module])])
                for alias in node.names:
                    inner = f"{home}.{alias.name}"
                    target = inner if inner in names else home
                    yield Import(module, target, path, node.lineno, node.level)


def _modules() -> Iterator[tuple[str, Path]]:
    """Yield each module's dotted name and file."""
    for folder, package in (
        ("caffe_compat", "caffe_compat"),
        ("converters", "caffe_compat.converters"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            inner = parts[:-1] if parts[-1] == "__init__" else parts
            yield ".".join([package, *inner]), path


def room(module: str) -> str | None:
    """Return the room that a module of caffe_compat belongs to; None for any other module."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or "caffe_compat" if package == "caffe_compat" else None


def arrows() -> dict[str, set[str]]:
    """Return, for each room, the rooms that it imports from."""
    below: dict[str, set[str]] = {name: set() for floor in FLOORS for name in floor}
    for one in imports():
        source, target = room(one.source), room(one.target)
        if source in below and target in below and source != target:
            below[source].add(target)
    return below


def drawing() -> str:
    """Return a Mermaid flowchart; arrows that follow from others are left out."""
    below = {name: targets - {*HIDDEN} for name, targets in arrows().items() if name not in HIDDEN}

    def reached(name: str) -> set[str]:
        return below[name].union(*map(reached, below[name]))

    lines = ["```mermaid", "flowchart TD"]
    for floor in reversed(FLOORS):
        for name in (each for each in floor if each in below):
            implied = set().union(*map(reached, below[name]))
            lines += [f"    {name} --> {target}" for target in sorted(below[name] - implied)]
    return "\n".join([*lines, "```", ""])


def page() -> str:
    """Return CONTRIBUTING.md's text with today's drawing in it."""
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    return before + START + drawing() + END + rest.split(END)[1]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
