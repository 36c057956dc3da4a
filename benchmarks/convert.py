"""Time and memory of loading and converting a VGG-16-shaped caffemodel, as ratios in one run.

    python benchmarks/convert.py [--quick] [--only load|convert]

The model has seeded random weights. Every measurement is a process of its own. For loading, it is
the wall time of the work without imports, and the max memory that the work adds to the imports'.
For the command `caffe-compat`, it is the wall time with the interpreter's start, and all memory.
The command's peer is `cp` of the same file, which is in the cache; the limits add the start-up (the
time of a net of one ReLU) to a multiple of `cp`. The package must be installed. Its bytecode is in
a temporary folder, so that the command starts as an installed package does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe_compat import weights
from caffe_compat.caffe_pb2 import LayerParameter, NetParameter, PoolingParameter
from caffe_compat.prototxt import writer

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
CLASSES = 1000

SIZES = (740, 1940, 4096)  # fc6 and fc7: 1x, 2x, 4x the bytes; the last is VGG-16 itself

LIMITS = {"time": 0.02, "memory": 0.05}

# The work of a child process; `path` is the model's. `loaded` keeps the weights alive.
OURS = """
from caffe_compat import weights
def work(path):
    opened = weights.read(path)
    return {layer.name: [blob.array for blob in layer.blobs] for layer in opened.layers}
"""
TOUCHED = (
    OURS.replace("    return", "    loaded =")
    + """
    total = sum(float(array[..., ::64].sum()) for arrays in loaded.values() for array in arrays)
    return loaded, total
"""
)
PROTOBUF = """
import numpy
from caffe_compat.caffe_pb2 import NetParameter
def work(path):
    net = NetParameter()
    with open(path, "rb") as file:
        net.ParseFromString(file.read())
    return {
        layer.name: [numpy.array(b.data, "f4").reshape(tuple(b.shape.dim)) for b in layer.blobs]
        for layer in net.layer
    }
"""
FRAME = """
import json, sys, time, benchmarks.convert as frame
before = frame.peak_memory()
start = time.perf_counter()
loaded = work(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps([seconds, frame.peak_memory() - before]))
"""


# A child process that runs the command and prints its memory last.
COMMAND = """
import atexit, sys
def print_memory():
    with open("/proc/self/status") as status:
        sys.stderr.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
atexit.register(print_memory)
from caffe_compat.converters.cli import main
main()
"""


class Cost(NamedTuple):
    """The cost of a piece of work: wall time in seconds, memory in bytes."""

    seconds: float
    memory: int


def peak_memory() -> int:
    """Return this process's max resident memory, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent's memory from before exec
        (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(work: str, path: Path, repeat: int = 1) -> Cost:
    """Run `work` in processes of its own; return the min time and the max memory."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", work + FRAME, str(path)]
    env = {**os.environ, "PYTHONPATH": str(root)}
    costs = []
    for _ in range(repeat):
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=root, env=env)
        costs.append(Cost(*json.loads(child.stdout)))
    return Cost(min(c.seconds for c in costs), max(c.memory for c in costs))


def vgg16(hidden: int = 4096) -> NetParameter:
    """Return VGG-16 (Simonyan and Zisserman 2014, configuration D) for one 3x224x224 image."""
    net = NetParameter(name="VGG-16")
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add(
        dim=[1, 3, 224, 224]
    )
    top = "data"
    for stage, (channels, depth) in enumerate(STAGES, 1):
        for i in range(1, depth + 1):
            conv = net.layer.add(name=f"conv{stage}_{i}", type="Convolution", bottom=[top])
            conv.convolution_param.num_output = channels
            conv.convolution_param.kernel_size.append(3)
            conv.convolution_param.pad.append(1)
            top = _activate(net, conv, f"relu{stage}_{i}")
        pool = net.layer.add(name=f"pool{stage}", type="Pooling", bottom=[top])
        pool.pooling_param.pool = PoolingParameter.MAX
        pool.pooling_param.kernel_size = pool.pooling_param.stride = 2
        top = f"pool{stage}"
        pool.top.append(top)
    for name, size in (("fc6", hidden), ("fc7", hidden), ("fc8", CLASSES)):
        full = net.layer.add(name=name, type="InnerProduct", bottom=[top])
        full.inner_product_param.num_output = size
        top = name if name == "fc8" else _activate(net, full, f"relu{name[2]}")
    full.top.append(top)
    net.layer.add(name="prob", type="Softmax", bottom=[top], top=["prob"])
    return net


def _activate(net: NetParameter, layer: LayerParameter, relu: str) -> str:
    layer.top.append(layer.name)
    net.layer.add(name=relu, type="ReLU", bottom=[layer.name], top=[layer.name])
    return layer.name


def make_model(folder: Path, hidden: int) -> Path:
    """Write `net.prototxt` and `net.caffemodel`; return the latter's path."""
    net = vgg16(hidden)
    rng = np.random.default_rng(0)
    channels = 3
    params: list[list[np.ndarray]] = []
    for layer in net.layer:
        shape: tuple[int, ...] = ()
        if layer.type == "Convolution":
            shape = (layer.convolution_param.num_output, channels, 3, 3)
        elif layer.type == "InnerProduct":
            inputs = channels * 7 * 7 if layer.name == "fc6" else channels
            shape = (layer.inner_product_param.num_output, inputs)
        channels = shape[0] if shape else channels
        blobs = [shape, shape[:1]] if shape else []
        params.append([0.01 * rng.standard_normal(s, "f4") for s in blobs])
    writer.write_text(net, folder / "net.prototxt")
    weights.write_caffemodel(folder / "net.caffemodel", net, params)
    return folder / "net.caffemodel"


def show(label: str, cost: Cost, peer: Cost | None = None) -> None:
    """Print one row: time, memory, and the ratios to a peer's."""
    row = f"{label:28} {1e3 * cost.seconds:10.1f} ms {cost.memory / 1e6:10.1f} MB"
    if peer:
        time, memory = cost.seconds / peer.seconds, cost.memory / peer.memory
        row += f"   {time:.4f}x time  {memory:.4f}x memory"
    print(row, flush=True)


def load(path: Path) -> bool:
    """Compare the mapped reading with protobuf's; return whether the limits are kept."""
    print(f"load, {path.stat().st_size / 1e6:.0f} MB")
    peer = measure(PROTOBUF, path)
    show("  ParseFromString + array", peer)
    ours = measure(OURS, path, repeat=3)
    show("  weights.read", ours, peer)
    show("  weights.read, every page", measure(TOUCHED, path, repeat=3), peer)
    kept = (
        ours.seconds <= LIMITS["time"] * peer.seconds
        and ours.memory <= LIMITS["memory"] * peer.memory
    )
    verdict = "kept" if kept else "MISSED"
    print(f"  limits {LIMITS['time']}x time, {LIMITS['memory']}x memory: {verdict}")
    return kept


def caffe_compat(*arguments: str | Path, folder: Path, bytecode: Path) -> Cost:
    """Run the command once in that folder."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    start = time.perf_counter()
    child = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(child.stderr)
    return Cost(seconds, int(child.stderr.splitlines()[-1]) * 1024)


def copy(path: Path) -> Cost:
    """Run `cp` once."""
    start = time.perf_counter()
    subprocess.run(["cp", path, path.with_name("copy")], check=True)
    return Cost(time.perf_counter() - start, 0)


def best(runs: Sequence[Callable[[], Cost]], folder: Path, repeat: int = 5) -> list[Cost]:
    """Run each piece of work in turn; return the min time and the max memory of each."""
    keep = set(folder.iterdir())
    costs: list[list[Cost]] = [[] for _ in runs]
    for _ in range(repeat):
        for run, own in zip(runs, costs, strict=True):
            os.sync()  # so that no run waits for the writes of another
            own.append(run())
            for output in set(folder.iterdir()) - keep:
                output.unlink()
    return [Cost(min(c.seconds for c in own), max(c.memory for c in own)) for own in costs]


def convert(path: Path, bytecode: Path, *, judge: bool) -> bool:
    """Compare `convert` in its three forms, and `show`, with `cp`; return if limits are kept."""
    size, folder = path.stat().st_size, path.parent
    (folder / "none.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }'
        'layer { name: "y" type: "ReLU" bottom: "x" top: "y" }'
    )

    def command(*arguments: str | Path) -> Callable[[], Cost]:
        return lambda: caffe_compat(*arguments, folder=folder, bytecode=bytecode)

    def form(weights_as: str) -> Callable[[], Cost]:
        return command(
            "convert", "net.prototxt", path.name, "-o", "out.onnx", "--weights-as", weights_as
        )

    start = command("convert", "none.prototxt", "-o", "out.onnx")
    for first in (start, form("in-place")):  # writes the bytecode
        first()
    start_up, shown, in_place, external, inline, cp = best(
        [
            start,
            command("show", path.name),
            form("in-place"),
            form("external"),
            form("inline"),
            lambda: copy(path),
        ],
        folder,
    )
    print(f"command, {size / 1e6:.0f} MB, with the interpreter's start")
    show("  cp", cp)
    show("  convert a net of one ReLU", start_up)
    rows = (
        ("show", shown, 0.5, None),
        ("convert, in-place", in_place, 0.5, 150e6),
        ("convert, external", external, 1.5 * cp.seconds + start_up.seconds, 250e6),
        ("convert, inline", inline, 3 * cp.seconds + start_up.seconds, 2.2 * size),
    )
    kept = True
    for label, cost, seconds, memory in rows:
        show(f"  {label}", cost)
        beyond = (cost.seconds - start_up.seconds) / cp.seconds
        ratio = f"{beyond:+.2f}x cp beyond start-up, {cost.memory / size:.3f}x the file in memory"
        verdict = ""
        if judge:
            good = cost.seconds <= seconds and (memory is None or cost.memory <= memory)
            kept &= good
            most = f"{seconds:.2f} s" + (f", {memory / 1e6:.0f} MB" if memory else "")
            verdict = f"; limit {most}: {'kept' if good else 'MISSED'}"
        print(f"      {ratio}{verdict}", flush=True)
    return kept


def main() -> int:
    """Run all parts; return status 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the size only")
    parser.add_argument("--only", choices=("load", "convert"), help="one part only")
    options = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory() as bytecode:
        for hidden in SIZES[:1] if options.quick else SIZES:
            with tempfile.TemporaryDirectory() as folder:
                path = make_model(Path(folder), hidden)
                if options.only != "convert":
                    kept &= load(path)
                if options.only != "load":  # the limits are stated for VGG-16's own size
                    kept &= convert(path, Path(bytecode), judge=hidden == SIZES[-1])
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
