"""Time and memory of a training step beside real Caffe and a hand-written torch loop.

    python benchmarks/train.py [--caffe PYTHON] [--nets lenet,quick] [--batch 64] [--device cuda]

PYTHON is a command that runs a Python in which `import caffe` is the real one; without it Caffe is
left out. LeNet, cifar10_quick, CaffeNet and a net of 22 layers (He et al. 2015) take steps of SGD
with momentum and weight decay on one batch, which is fed anew at every step. All sides take turns,
and the medians of the turns are compared. Caffe draws its masks of Dropout from one stream; `--rng
fast` lets ours draw as torch does, and is the default with `--device cuda`.

On a CPU every turn is a process of its own, with as many threads as there are cores; its memory is
the peak of what is resident, and what the imports alone take of that. On a busy machine `--clock
cpu --threads 1` compares the processor's time. On a GPU one process has all sides, which a turn
runs for some steps each, waiting for the device before and after; `tuned` is the torch loop with
the convolutions that cuDNN found fastest by trial. Status 1 where a ratio misses its goal.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from training_nets import NETS, SOLVER, prototxt

# Each side's program: argv is the solver's path, the net's name, this folder, the batch, the
# seconds, the device, the rng, the clock. It has `step`, `wait`, and a batch: `images`, `labels`.
START = """
import sys, time, json
sys.path.insert(0, sys.argv[3])
import numpy as np
from training_nets import CLASSES, NETS, SHAPES
path, name, batch, seconds, device, rng, clock = sys.argv[1], sys.argv[2], *sys.argv[4:9]
now = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
numbers = np.random.RandomState(0)
images = numbers.randn(int(batch), *SHAPES[name]).astype("f")
labels = numbers.randint(0, CLASSES[name], int(batch)).astype("f")
wait = lambda: None
def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))
"""
SIDES = {
    "caffe": """
import caffe
imported = memory("VmRSS")
solver = caffe.SGDSolver(path)
def step():
    solver.net.blobs["x"].data[...] = images
    solver.net.blobs["label"].data[...] = labels
    solver.step(1)
""",
    "ours": """
import itertools, caffe_compat, torch
caffe_compat.Solver
imported = memory("VmRSS")
data = itertools.repeat({"x": images, "label": labels})
solver = caffe_compat.Solver(path, data=data, engine="torch", device=device, rng=rng)
step = lambda: solver.step(1)
wait = torch.cuda.synchronize if device != "cpu" else wait
""",
    "numpy": """
import itertools, caffe_compat
caffe_compat.Solver
imported = memory("VmRSS")
data = itertools.repeat({"x": images, "label": labels})
solver = caffe_compat.Solver(path, data=data, engine="numpy", rng=rng)
step = lambda: solver.step(1)
""",
    "torch": """
import torch
from torch import nn
imported = memory("VmRSS")
torch.backends.cudnn.allow_tf32 = False
parts, channels = [], SHAPES[name][0]
for kind, *n in NETS[name]:
    if kind == "conv":
        pads = dict(zip(("stride", "padding", "groups"), n[2:]))
        parts.append(nn.Conv2d(channels, n[0], n[1], **pads))
        channels = n[0]
    elif kind == "fc":
        if not any(isinstance(part, nn.Flatten) for part in parts):
            parts.append(nn.Flatten())
        parts.append(nn.LazyLinear(n[0]))
        channels = n[0]
    else:
        parts.append({
            "relu": lambda: nn.ReLU(inplace=True), "prelu": lambda: nn.PReLU(channels),
            "drop": nn.Dropout, "lrn": lambda: nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0),
            "max": lambda: nn.MaxPool2d(*n, ceil_mode=True),
            "mean": lambda: nn.AvgPool2d(*n, ceil_mode=True),
        }[kind]())
model = nn.Sequential(*parts).to(device)
model(torch.from_numpy(images).to(device))
weights = [p for name, p in model.named_parameters() if not name.endswith("bias")]
biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
optimizer = torch.optim.SGD(
    [{"params": weights, "weight_decay": 0.0005}, {"params": biases, "lr": 0.002}],
    lr=0.001, momentum=0.9)
criterion = nn.CrossEntropyLoss()
def step():
    x, y = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device).long()
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
wait = torch.cuda.synchronize if device != "cpu" else wait
""",
}
SIDES["tuned"] = f"""
{SIDES["torch"]}
plain = step
def step():
    with torch.backends.cudnn.flags(True, benchmark=True, allow_tf32=False):
        return plain()
"""
# A turn on a CPU: a side's process, and what it prints.
END = """
for _ in range(3):
    step()
times = []
while sum(times) < float(seconds) or len(times) < 3:
    start = now()
    step()
    times.append(now() - start)
times.sort()
print(json.dumps(
    {"step": times[len(times) // 2], "peak": memory("VmHWM"), "imported": imported}))
"""
# All turns on a GPU: argv ends in the number of turns and the sides.
TURNS = """
from train import SIDES, START
turns, sides = int(sys.argv[9]), sys.argv[10].split(",")
scopes = {side: {} for side in sides}
for side, scope in scopes.items():
    exec(START + SIDES[side], scope)
    for _ in range(30):
        scope["step"]()
results = []
for _ in range(turns):
    results.append({})
    for side, scope in scopes.items():
        times = []
        while sum(times) * 10 < float(seconds) or len(times) < 4:
            scope["wait"]()
            start = now()
            for _ in range(10):
                scope["step"]()
            scope["wait"]()
            times.append((now() - start) / 10)
        results[-1][side] = {"step": sorted(times)[len(times) // 2]}
print(json.dumps(results))
"""

Turn = dict[str, dict[str, float]]
"""Of each side the median time of a step, and its memory."""


def run(name: str, program: str, command: list[str], arguments: list[str], threads: str) -> Any:
    """Run a program in a process of its own, and return what it prints."""
    done = subprocess.run(
        [*command, "-c", program, *arguments],
        env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(
    sides: dict[str, list[str]], arguments: list[str], args: argparse.Namespace
) -> list[Turn]:
    """Return the turns of the sides, each run by its command."""
    if args.device != "cpu":
        own = [*arguments, str(args.turns), ",".join(sides)]
        turns: list[Turn] = run("turns", START + TURNS, [sys.executable], own, args.threads)
        return turns
    return [
        {
            side: run(side, START + SIDES[side] + END, command, arguments, args.threads)
            for side, command in sides.items()
        }
        for _ in range(args.turns)
    ]


def report(turns: list[Turn], device: str) -> tuple[list[str], int]:
    """Return what to print of a net's turns, and how many goals were missed."""

    def median(side: str, key: str) -> float:
        return statistics.median(turn[side][key] for turn in turns)

    row, missed = [], 0
    for side in turns[0]:
        memory = ""
        if device == "cpu":
            memory = f" {median(side, 'peak'):.0f} MB (imports {median(side, 'imported'):.0f})"
        row.append(f"{side} {median(side, 'step') * 1e3:.2f} ms{memory}")
    for side, peer, key, limit in goals(device):
        if side in turns[0] and peer in turns[0]:
            ratios = sorted(turn[side][key] / turn[peer][key] for turn in turns)
            ratio = statistics.median(ratios)
            missed += ratio > limit
            spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}, " if len(ratios) > 1 else ""
            what = "" if key == "step" else f" {key}"
            row.append(f"{side}/{peer}{what} {ratio:.2f} ({spread}goal {limit:g})")
    return row, missed


def goals(device: str) -> list[tuple[str, str, str, float]]:
    """Return the ratios to hold: a side, its peer, of what, and the limit."""
    if device != "cpu":
        return [("ours", "torch", "step", 1.05), ("ours", "tuned", "step", 1.05)]
    return [
        ("ours", "torch", "step", 1.1),
        ("ours", "caffe", "step", 0.5),
        ("numpy", "caffe", "step", 1.0),
        ("ours", "torch", "peak", 1.0),
        ("ours", "caffe", "peak", 1.0),
        ("numpy", "caffe", "peak", 1.0),
    ]


def main() -> int:
    """Print the table; the status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--caffe", help="the command of a Python with a real caffe")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rng", help="boost-1.64, or fast")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="of a turn of one side: 2, on a GPU 0.2")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--sides", default="ours,torch,tuned,numpy,caffe")
    args = parser.parse_args()
    seconds = args.seconds or (2.0 if args.device == "cpu" else 0.2)
    rng = args.rng or ("boost-1.64" if args.device == "cpu" else "fast")
    sides = {side: [sys.executable] for side in args.sides.split(",") if side != "caffe"}
    sides.pop("tuned" if args.device == "cpu" else "numpy", None)
    if args.device == "cpu" and args.caffe and "caffe" in args.sides:
        sides["caffe"] = shlex.split(args.caffe)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.nets.split(","):
            path = Path(folder, f"{name}.prototxt")
            path.write_text(prototxt(name, args.batch))
            solver = Path(folder, f"{name}_solver.prototxt")
            solver.write_text(SOLVER % path)
            arguments = [str(solver), name, str(Path(__file__).parent), str(args.batch)]
            arguments += [str(seconds), args.device, rng, args.clock]
            row, misses = report(take_turns(sides, arguments, args), args.device)
            missed += misses
            print(f"{name} x{args.batch}: " + ", ".join(row), flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
