"""Time of a training step beside real Caffe and a hand-written torch loop.

    python benchmarks/train.py [--caffe PYTHON] [--nets lenet,quick] [--batch 64] [--device cuda]

PYTHON is a command that runs a Python in which `import caffe` is the real one; without it Caffe is
left out. LeNet, cifar10_quick, CaffeNet and a net of 22 layers (He et al. 2015) take steps of SGD
with momentum and weight decay on one batch, which is fed anew at every step. All sides take turns,
every turn a process of its own; the medians of the turns are compared, with as many threads as
there are cores. Caffe draws its masks of Dropout from one stream; `--rng fast` lets ours draw as
torch does, and is the default with `--device cuda`. On a busy machine `--clock cpu --threads 1`
compares the processor's time. Status 1 where a ratio misses its goal.
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

SOLVER = """net: "%s" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
max_iter: 100000 display: 0 snapshot_after_train: false random_seed: 1 solver_mode: CPU
"""
SHAPES = {
    "lenet": (1, 28, 28),
    "quick": (3, 32, 32),
    "caffenet": (3, 227, 227),
    "deep": (3, 32, 32),
}
CLASSES = {"lenet": 10, "quick": 10, "caffenet": 1000, "deep": 10}

# A layer a row: what it is, and its numbers. `conv` has outputs, kernel, stride, pad, groups;
# pools have kernel and stride; `fc` has outputs.
Row = tuple[Any, ...]
NETS: dict[str, list[Row]] = {
    "lenet": [
        ("conv", 20, 5), ("max", 2, 2), ("conv", 50, 5), ("max", 2, 2),
        ("fc", 500), ("relu",), ("fc", 10),
    ],
    "quick": [
        ("conv", 32, 5, 1, 2), ("max", 3, 2), ("relu",), ("conv", 32, 5, 1, 2), ("relu",),
        ("mean", 3, 2), ("conv", 64, 5, 1, 2), ("relu",), ("mean", 3, 2), ("fc", 64), ("fc", 10),
    ],
    "caffenet": [
        ("conv", 96, 11, 4), ("relu",), ("max", 3, 2), ("lrn",),
        ("conv", 256, 5, 1, 2, 2), ("relu",), ("max", 3, 2), ("lrn",),
        ("conv", 384, 3, 1, 1), ("relu",), ("conv", 384, 3, 1, 1, 2), ("relu",),
        ("conv", 256, 3, 1, 1, 2), ("relu",), ("max", 3, 2),
        ("fc", 4096), ("relu",), ("drop",), ("fc", 4096), ("relu",), ("drop",), ("fc", 1000),
    ],
    "deep": [
        *[("conv", 16, 3, 1, 1), ("prelu",)] * 7, ("max", 2, 2),
        *[("conv", 32, 3, 1, 1), ("prelu",)] * 6, ("max", 2, 2),
        *[("conv", 64, 3, 1, 1), ("prelu",)] * 6, ("max", 2, 2),
        ("fc", 256), ("prelu",), ("fc", 256), ("prelu",), ("fc", 10),
    ],
}  # fmt: skip


def prototxt(name: str, batch: int) -> str:
    """Return a net as Caffe reads it."""
    dims = " ".join(f"dim: {n}" for n in (batch, *SHAPES[name]))
    parts = [
        'layer { name: "in" type: "Input" top: "x" top: "label" input_param { '
        f"shape {{ {dims} }} shape {{ dim: {batch} }} }} }}"
    ]
    bottom = "x"
    for i, (kind, *numbers) in enumerate(NETS[name]):
        top = bottom if kind in ("relu", "prelu", "drop") else f"{kind}{i}"
        parts.append(
            f'layer {{ name: "{kind}{i}" type: "{_TYPES[kind]}" bottom: "{bottom}" top: "{top}" '
            f"{_param(kind, numbers)} }}"
        )
        bottom = top
    ends = f'bottom: "{bottom}" bottom: "label"'
    parts.append(f'layer {{ name: "loss" type: "SoftmaxWithLoss" {ends} top: "loss" }}')
    return "\n".join(parts)


_TYPES = {
    "conv": "Convolution", "fc": "InnerProduct", "max": "Pooling", "mean": "Pooling", "lrn": "LRN",
    "relu": "ReLU", "prelu": "PReLU", "drop": "Dropout",
}  # fmt: skip


def _param(kind: str, numbers: list[int]) -> str:
    multipliers = "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
    if kind == "conv":
        outputs, kernel, stride, pad, group = (*numbers, *(1, 0, 1)[len(numbers) - 2 :])
        return (
            f"{multipliers} convolution_param {{ num_output: {outputs} kernel_size: {kernel} "
            f'stride: {stride} pad: {pad} group: {group} weight_filler {{ type: "msra" }} }}'
        )
    if kind == "fc":
        return (
            f"{multipliers} inner_product_param {{ num_output: {numbers[0]} "
            'weight_filler { type: "msra" } }'
        )
    if kind in ("max", "mean"):
        pool = "MAX" if kind == "max" else "AVE"
        return f"pooling_param {{ pool: {pool} kernel_size: {numbers[0]} stride: {numbers[1]} }}"
    return "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }" if kind == "lrn" else ""


# Each side's program: argv is the solver's path, the net's, the seconds, the device and the rng.
# It has `step`, `wait` and a batch of `images` and `labels`.
START = """
import sys, time, json, resource
sys.path.insert(0, sys.argv[3])
import numpy as np
from train import CLASSES, NETS, SHAPES
path, name, batch, seconds, device, rng, clock = sys.argv[1], sys.argv[2], *sys.argv[4:]
now = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
numbers = np.random.RandomState(0)
images = numbers.randn(int(batch), *SHAPES[name]).astype("f")
labels = numbers.randint(0, CLASSES[name], int(batch)).astype("f")
wait = lambda: None
"""
SIDES = {
    "caffe": """
import caffe
solver = caffe.SGDSolver(path)
def step():
    solver.net.blobs["x"].data[...] = images
    solver.net.blobs["label"].data[...] = labels
    solver.step(1)
""",
    "ours": """
import itertools, caffe_compat, torch
data = itertools.repeat({"x": images, "label": labels})
solver = caffe_compat.Solver(path, data=data, engine="torch", device=device, rng=rng)
step = lambda: solver.step(1)
wait = torch.cuda.synchronize if device != "cpu" else wait
""",
    "numpy": """
import itertools, caffe_compat
data = itertools.repeat({"x": images, "label": labels})
solver = caffe_compat.Solver(path, data=data, engine="numpy", rng=rng)
step = lambda: solver.step(1)
""",
    "torch": """
import torch
from torch import nn
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
END = """
for _ in range(3):
    step()
times = []
while sum(times) < float(seconds) or len(times) < 3:
    wait()
    start = now()
    for _ in range(5 if device != "cpu" else 1):
        step()
    wait()
    times.append((now() - start) / (5 if device != "cpu" else 1))
times.sort()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"step": times[len(times) // 2], "peak": peak}))
"""


def run(side: str, command: list[str], arguments: list[str], threads: str) -> dict[str, float]:
    """Run a side once in a process of its own."""
    done = subprocess.run(
        [*command, "-c", START + SIDES[side] + END, *arguments],
        env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{side}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def goals(device: str) -> list[tuple[str, str, float]]:
    """Return the ratios to hold: a side, its peer, and the limit."""
    if device != "cpu":
        return [("ours", "torch", 1.05)]
    return [("ours", "torch", 1.1), ("ours", "caffe", 0.5), ("numpy", "caffe", 1.0)]


def main() -> int:
    """Print the table; the status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--caffe", help="the command of a Python with a real caffe")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rng", help="boost-1.64, or fast")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--sides", default="ours,torch,numpy,caffe")
    args = parser.parse_args()
    rng = args.rng or ("boost-1.64" if args.device == "cpu" else "fast")
    sides = {side: [sys.executable] for side in args.sides.split(",") if side != "caffe"}
    if args.device != "cpu":
        sides.pop("numpy", None)
    elif args.caffe and "caffe" in args.sides:
        sides["caffe"] = shlex.split(args.caffe)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.nets.split(","):
            path = Path(folder, f"{name}.prototxt")
            path.write_text(prototxt(name, args.batch))
            solver = Path(folder, f"{name}_solver.prototxt")
            solver.write_text(SOLVER % path)
            arguments = [str(solver), name, str(Path(__file__).parent), str(args.batch)]
            arguments += [str(args.seconds), args.device, rng, args.clock]
            turns = [
                {s: run(s, c, arguments, args.threads) for s, c in sides.items()}
                for _ in range(args.turns)
            ]
            step = {s: statistics.median(turn[s]["step"] for turn in turns) for s in sides}
            peak = {s: statistics.median(turn[s]["peak"] for turn in turns) for s in sides}
            row = [f"{s} {step[s] * 1e3:.1f} ms {peak[s]:.0f} MB" for s in sides]
            for side, peer, limit in goals(args.device):
                if side in step and peer in step:
                    ratio = step[side] / step[peer]
                    missed += ratio > limit
                    row.append(f"{side}/{peer} {ratio:.2f} (goal {limit})")
            print(f"{name} x{args.batch}: " + ", ".join(row), flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
