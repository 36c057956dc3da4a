"""The rooms: imports point downward and in no circle, and heavy packages stay in their rooms."""

from __future__ import annotations

import graphlib
import runpy
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOMS = runpy.run_path(str(Path(__file__).parents[1] / "docs/make_rooms.py"))
FLOOR = {name: height for height, names in enumerate(ROOMS["FLOORS"]) for name in names}
IMPORTS = list(ROOMS["imports"]())

# The dependencies of every installation, and the rooms that may import the others.
CORE = {"numpy", "google", "onnx", "h5py", "PIL"}
RESTRICTED = {
    "typer": {"converters"},
    "rich": {"converters"},
    "onnxruntime": {"runtime"},
    "torch": {"torch", "training", "pycaffe"},
    "safetensors": {"torch"},
    "ray": {"images", "data"},
    "lmdb": {"data"},
    "plyvel": {"data"},
    "cv2": {"data"},
    "fast_sugiyama": {"pages"},
    "skimage": {"pycaffe"},
    "scipy": {"pycaffe"},
    "pydot": {"pycaffe"},
    "six": {"pycaffe"},
    "fissix": {"pycaffe"},
    "caffe": {"plugin", "pycaffe"},
}
OF_EXTRAS = {"torch", "data", "training", "pycaffe"}


def room(module):
    return ROOMS["room"](module)


def place(one):
    return f"{one.path.relative_to(ROOMS['ROOT'])}:{one.line}: {one.target}"


def test_every_room_has_a_floor():
    rooms = {room(one.source) for one in IMPORTS} - {"caffe_compat"}
    assert rooms <= set(FLOOR)
    assert {"layers", "net", "onnx", "converters"} <= rooms


def test_rooms_import_downward():
    upward = [
        place(one)
        for one in IMPORTS
        if room(one.source) in FLOOR
        and room(one.target) not in (None, room(one.source))
        # The package itself stands above every room but the command line.
        and FLOOR.get(room(one.target), len(FLOOR) - 2) >= FLOOR[room(one.source)]
    ]
    assert not upward


def test_no_module_is_part_of_a_circle():
    below = defaultdict(set)
    for one in IMPORTS:
        if room(one.target) and one.source != one.target:
            below[one.source].add(one.target)
    graphlib.TopologicalSorter(below).prepare()  # raises CycleError with the circle


def test_modules_import_their_own_package_relatively():
    # converters/ is installed under another name than its folder's, so its modules do likewise
    # among themselves; caffe_compat is another package to them.
    absolute = [one for one in IMPORTS if room(one.target) and not one.level]
    assert not [
        place(one)
        for one in absolute
        if room(one.source) != "converters" or room(one.target) == "converters"
    ]
    assert not [place(one) for one in IMPORTS if one.target.partition(".")[0] == "converters"]


def test_every_package_from_elsewhere_is_known():
    packages = {one.target.partition(".")[0] for one in IMPORTS}
    assert packages <= {"caffe_compat", *sys.stdlib_module_names, *CORE, *RESTRICTED}


@pytest.mark.parametrize("package", RESTRICTED)
def test_a_restricted_package_stays_in_its_rooms(package):
    users = [one for one in IMPORTS if one.target.partition(".")[0] == package]
    assert not [place(one) for one in users if room(one.source) not in RESTRICTED[package]]


def test_extras_are_imported_when_used():
    """No module outside the rooms of the extras loads a package that only an extra brings."""
    modules = sorted({one.source for one in IMPORTS if room(one.source) not in OF_EXTRAS})
    heavy = sorted(set(RESTRICTED) - {"typer", "rich"})
    code = (
        f"import importlib, sys\nfor name in {modules}:\n"
        f"    if not name.endswith('__main__'): importlib.import_module(name)\n"
        f"print(sorted(set(sys.modules) & set({heavy})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_is_current():
    assert ROOMS["PAGE"].read_text(encoding="utf-8") == ROOMS["page"]()
