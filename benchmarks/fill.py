"""Time and memory of drawing VGG-16's 138 million weights, against torch in one run.

Each round times every contender once, so that all see the same machine; the ratios are of the best
rounds. Each contender fills arrays that exist, as `torch.nn.init.kaiming_normal_` does, and new
ones.

    python benchmarks/fill.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from caffe_compat import fillers, pipeline
from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.fillers.rng import GENERATIONS, make_rng
from caffe_compat.fillers.rng.stream import cores

NET = "tests/golden/nets/NVIDIA_caffe_models_vgg16_train_val/net.prototxt"
SHAPES = [
    blob.shape
    for node in pipeline.read(Path(__file__).parents[1] / NET).nodes
    for blob in node.blobs
    if blob.name == "weight"
]
WEIGHTS = sum(map(math.prod, SHAPES))
MSRA = FillerParameter(type="msra")
TARGETS = {"boost-1.64": 2.0, "fast": 1.0}
NEW = " (new arrays)"
MEMORY = """
import resource, sys
from fill import SHAPES, MSRA, fillers, make_rng
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rng = make_rng(sys.argv[1], 1)
fillers.fill((100,), MSRA, rng)
before = peak()
blobs = [fillers.fill(shape, MSRA, rng) for shape in SHAPES]
unit = 1 if sys.platform == "darwin" else 1024
print((peak() - before) * unit / sum(blob.nbytes for blob in blobs))
"""


def torch_contenders() -> dict[str, Callable[[], object]]:
    """Return PyTorch over the same shapes, in both ways; nothing, with a note, without torch."""
    try:
        import torch
    except ImportError:
        print("torch is not installed, so there are no ratios: pip install torch==2.13.0")
        return {}
    init = torch.nn.init.kaiming_normal_
    blobs = [torch.zeros(shape) for shape in SHAPES]
    return {
        "torch": lambda: [init(blob) for blob in blobs],
        "torch" + NEW: lambda: [init(torch.empty(shape)) for shape in SHAPES],
    }


def contenders() -> dict[str, Callable[[], object]]:
    """Return this package's streams, in both ways."""
    blobs = [np.zeros(math.prod(shape), np.float32) for shape in SHAPES]
    stds = [float(fillers.sigma(shape, MSRA)) for shape in SHAPES]

    def existing(name: str) -> None:
        rng = make_rng(name, 1)
        for blob, std in zip(blobs, stds, strict=True):
            rng.normal(0, std, blob.size, out=blob)

    def new(name: str) -> object:
        rng = make_rng(name, 1)
        return [fillers.fill(shape, MSRA, rng) for shape in SHAPES]

    names = [*GENERATIONS, "fast"]
    return {
        **{name: lambda name=name: existing(name) for name in names},
        **{name + NEW: lambda name=name: new(name) for name in names},
    }


def print_peaks() -> None:
    """Print the max memory of child processes.

    This runs before the other parts, because a child's peak starts at its parent's.
    """
    if sys.platform == "win32":
        print("no peak of memory: Windows lacks getrusage")
        return
    for name in TARGETS:
        command = [sys.executable, "-c", MEMORY, name]
        here = Path(__file__).parent
        peak = subprocess.run(command, check=True, capture_output=True, text=True, cwd=here).stdout
        print(f"{name:24} peak of memory {float(peak):.2f} x the weights (target 1.3)")


def main() -> None:
    """Measure memory, then time in rounds, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"VGG-16, {WEIGHTS:,} weights, {cores()} cores, best of {rounds} rounds")
    print_peaks()
    runs = torch_contenders() | contenders()
    best = dict.fromkeys(runs, math.inf)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        line = f"{name:24} {seconds:6.3f} s  {WEIGHTS / seconds / 1e6:4.0f} million/s"
        plain, torch = name.removesuffix(NEW), "torch" + NEW * name.endswith(NEW)
        if torch in best and plain != "torch":
            line += f"  {seconds / best[torch]:5.2f} x torch"
            line += f" (target {TARGETS[plain]:g})" if plain in TARGETS else ""
        print(line)


if __name__ == "__main__":
    main()
