"""Time of `caffe_compat.pycaffe` beside a real pycaffe, the same script in both.

    python benchmarks/pycaffe.py --caffe PYTHON [--nets caffenet,googlenet] [--batches 1,10]

PYTHON is a command that runs a Python in which `import caffe` is the real one; without it only this
package's times are printed. Tasks: forward in TEST; forward and backward in TRAIN form
(force_backward), with PyTorch (`both`) and with PyTorch hidden (`numpy`); and 1,000 rounds of edit
a weight, forward, read a blob on LeNet (`edits`). The two take turns, every turn a process of its
own that runs once and then runs warm; the medians of the turns are compared, on the same machine in
the same minutes, with as many threads as there are cores. On a machine that is busy with other
work, `--threads 1 --clock cpu` compares the processors' time. Weights are drawn by both from msra
fillers. Status 1 where a ratio misses its goal.
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

from caffe_compat.caffe_pb2 import TEST, NetParameter
from caffe_compat.prototxt import reader, writer
from caffe_compat.prototxt.phase import select
from caffe_compat.prototxt.upgrade import upgrade

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/nets"
NETS = {
    "caffenet": GOLDEN / "BVLC_caffe_models_bvlc_reference_caffenet_deploy",
    "googlenet": GOLDEN / "BVLC_caffe_models_bvlc_googlenet_deploy",
    "resnet50": GOLDEN / "KaimingHe_deep_residual_networks_prototxt_ResNet_50_deploy",
    "lenet": GOLDEN / "BVLC_caffe_examples_lenet_lenet",
}
GOALS = {"forward 1": 0.6, "forward 10": 0.5, "both": 0.6, "numpy": 1.2, "edits": 1.0}

# Runs in both Pythons: argv is the prototxt, the task, the seconds to spend and the clock.
SCRIPT = """
import sys, time, json
now = time.process_time if sys.argv[4] == "cpu" else time.perf_counter
start = now()
path, task, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
if task == "numpy":
    sys.modules["torch"] = None  # as if it were not installed
import caffe, numpy as np
load = now() - start
caffe.set_mode_cpu()
net = caffe.Net(path, caffe.TEST)
name = net.inputs[0]
shape = net.blobs[name].data.shape
net.blobs[name].data[...] = np.random.RandomState(0).randn(*shape)
for blobs in net.params.values():
    if len(blobs) == 3:  # BatchNorm: a variance of 0 would be no measure
        blobs[1].data[...] = 1
        blobs[2].data[...] = 1
weight = list(net.params.values())[0][0]

def once():
    if task == "edits":
        weight.data[0, 0, 0, 0] += 1e-4
        float(net.forward()[net.outputs[0]].sum())
        return
    net.forward()
    if task in ("both", "numpy"):
        net.blobs[net.outputs[0]].diff[...] = 1e-3
        net.backward()

start = now()
once()
first = now() - start
times = []
rounds = 1000 if task == "edits" else 3
while len(times) < rounds or (task != "edits" and sum(times) < seconds and len(times) < 50):
    start = now()
    once()
    times.append(now() - start)
times.sort()
print(json.dumps({"import": load, "first": first, "median": times[len(times) // 2]}))
"""


def prepare(folder: Path, name: str, batch: int, *, backward: bool) -> Path:
    """Write a net's deploy form for both: that batch, msra fillers, gradients where wanted."""
    read, _ = reader.read_net(NETS[name] / "net.prototxt", TEST)
    net: NetParameter = select(upgrade(read), TEST)
    net.force_backward = backward
    for layer in net.layer:
        for shape in layer.input_param.shape:
            shape.dim[0] = batch
        for kind in ("convolution_param", "inner_product_param"):
            if layer.HasField(kind):
                getattr(layer, kind).weight_filler.Clear()
                getattr(layer, kind).weight_filler.type = "msra"
        if layer.type == "Softmax" and backward:
            layer.type = "Sigmoid"  # so that a constant gradient does not vanish
            layer.ClearField("softmax_param")
    path = folder / f"{name}_{batch}_{backward}.prototxt"
    writer.write_text(net, path)
    return path


def run(command: list[str], path: Path, task: str, args: argparse.Namespace) -> dict[str, float]:
    """Run the script once in a process of its own."""
    threads = str(args.threads)
    done = subprocess.run(
        [*command, "-c", SCRIPT, str(path), task, str(args.seconds), args.clock],
        env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> int:
    """Print the table; the status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--caffe", help="the command of a Python with a real caffe")
    parser.add_argument("--nets", default="caffenet,googlenet,resnet50")
    parser.add_argument("--batches", default="1,10")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--tasks", default="forward,both,numpy,edits")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    ours = [sys.executable, "-m", "caffe_compat.pycaffe"]
    sides = {"ours": ours} | ({"caffe": shlex.split(args.caffe)} if args.caffe else {})
    jobs = [
        (name, batch, task)
        for task in args.tasks.split(",")
        for name in (args.nets.split(",") if task != "edits" else ["lenet"])
        for batch in map(int, args.batches.split(",") if task == "forward" else ["10"])
    ]
    missed = 0
    print(f"{'net':10} {'batch':>5} {'task':8} {'ours':>9} {'caffe':>9} {'ratio':>6} {'goal':>5}")
    with tempfile.TemporaryDirectory() as folder:
        for name, batch, task in jobs:
            batch = 64 if task == "edits" else batch
            path = prepare(Path(folder), name, batch, backward=task in ("both", "numpy"))
            turns = [
                {side: run(command, path, task, args) for side, command in sides.items()}
                for _ in range(args.turns)
            ]
            median = {s: statistics.median(turn[s]["median"] for turn in turns) for s in sides}
            row = f"{name:10} {batch:5} {task:8} {median['ours'] * 1e3:7.1f}ms"
            if "caffe" in median:
                ratio = median["ours"] / median["caffe"]
                goal = GOALS.get(task) or GOALS["forward 1" if batch == 1 else "forward 10"]
                missed += ratio > goal
                row += f" {median['caffe'] * 1e3:7.1f}ms {ratio:6.2f} {goal:5.2f}"
            first = statistics.median(turn["ours"]["first"] for turn in turns)
            load = statistics.median(turn["ours"]["import"] for turn in turns)
            print(f"{row}   import {load:.2f} s, first run {first:.2f} s", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
