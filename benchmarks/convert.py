"""Time and memory of loading a VGG-16-shaped caffemodel, as ratios in one run.

    python benchmarks/convert.py [--quick]

The model is made here, with seeded random weights. Every measurement is a process of its own:
wall time of the work without imports, and the most memory that it added to what the imports took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe_compat import files, weights
from caffe_compat.caffe_pb2 import LayerParameter, NetParameter, PoolingParameter

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
CLASSES = 1000

LIMITS = {"time": 0.02, "memory": 0.05}

# What a child process runs; `path` is the model's. Each leaves what it loaded in `loaded`.
OURS = """
from caffe_compat import weights
def work(path):
    opened = weights.read(path)
    return {layer.name: [blob.array for blob in layer.blobs] for layer in opened.layers}
"""
TOUCHED = OURS.replace("    return", "    loaded =") + """
    total = sum(float(array[..., ::64].sum()) for arrays in loaded.values() for array in arrays)
    return loaded, total
"""
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


class Cost(NamedTuple):
    """What a piece of work took: wall time in seconds, memory in bytes."""

    seconds: float
    memory: int


def peak_memory() -> int:
    """The most resident memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent's memory from before exec
        (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(work: str, path: Path, repeat: int = 1) -> Cost:
    """Runs `work` in processes of its own; the least time and the most memory of them."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", work + FRAME, str(path)]
    env = {**os.environ, "PYTHONPATH": str(root)}
    costs = []
    for _ in range(repeat):
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=root, env=env)
        costs.append(Cost(*json.loads(done.stdout)))
    return Cost(min(c.seconds for c in costs), max(c.memory for c in costs))


def vgg16(hidden: int = 4096) -> NetParameter:
    """VGG-16 (Simonyan and Zisserman 2014, configuration D) for one 3 x 224 x 224 picture."""
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
    """Writes `net.prototxt` and `net.caffemodel`; returns the latter's path."""
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
    files.write_text(net, folder / "net.prototxt")
    weights.write_caffemodel(folder / "net.caffemodel", net, params)
    return folder / "net.caffemodel"


def show(label: str, cost: Cost, peer: Cost | None = None) -> None:
    """Prints one row: time, memory, and the ratios to a peer's."""
    row = f"{label:28} {1e3 * cost.seconds:10.1f} ms {cost.memory / 1e6:10.1f} MB"
    if peer:
        time, memory = cost.seconds / peer.seconds, cost.memory / peer.memory
        row += f"   {time:.4f}x time  {memory:.4f}x memory"
    print(row, flush=True)


def load(path: Path) -> bool:
    """Compares the mapped reading with protobuf's; whether the limits are kept."""
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


def main() -> int:
    """Runs all parts; status 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the size only")
    hidden = [1024] if parser.parse_args().quick else [1024, 2048, 4096]
    kept = True
    for size in hidden:  # about 1x, 2x, 4x; the last is VGG-16 itself
        with tempfile.TemporaryDirectory() as folder:
            kept &= load(make_model(Path(folder), size))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
