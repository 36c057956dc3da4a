"""Time of onnxruntime on our ONNX file, against OpenCV 4 on the same prototxt and caffemodel.

    python benchmarks/infer.py [--nets lenet,vgg16] [--batches 1,16] [--device cpu|cuda]

Each net is timed twice: a warm run, and from the files on disk to the first output, without the
imports. The two engines take turns. Every turn is a process of its own that opens the net, runs it
once and then runs it warm, with the engine's own number of threads; the medians are compared. The
weights are drawn by msra, and variances are 1. OpenCV is installed into an environment of its own
by venv and pip, unless --opencv PYTHON names one. With --device cuda only onnxruntime uses the GPU,
since pip's OpenCV cannot. If onnxruntime has CUDA, gpu.py's table follows. The exit status is 1 if
a median is above OpenCV's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import TEST, NetParameter
from caffe_compat.net.net import Net
from caffe_compat.prototxt import reader, writer
from caffe_compat.prototxt.phase import select
from caffe_compat.prototxt.upgrade import upgrade
from caffe_compat.runtime.devices import runtime

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/nets"
NETS = {
    "lenet": GOLDEN / "BVLC_caffe_examples_lenet_lenet",
    "squeezenet": GOLDEN / "DeepScale_SqueezeNet_SqueezeNet_v1_1_deploy",
    "googlenet": GOLDEN / "BVLC_caffe_models_bvlc_googlenet_deploy",
    "resnet50": GOLDEN / "KaimingHe_deep_residual_networks_prototxt_ResNet_50_deploy",
    "vgg16": GOLDEN / "PaddlePaddle_X2Paddle_test_benchmark_Caffe_VGG16_vgg16",
    "onet": ROOT / "examples/mtcnn/models/det3",
}
OPENCV = "opencv-python-headless<5"

# The children's code: with `folder` and `device` it defines `open`, which returns a function of the
# input.
OURS = """
import onnxruntime
from caffe_compat import Session
def open():
    session = Session(folder + "/net.onnx", device)
    (name,) = session.inputs
    return lambda x: list(session.run({name: x}).values())
"""
THEIRS = """
import cv2
def open():
    net = cv2.dnn.readNetFromCaffe(folder + "/net.prototxt", folder + "/net.caffemodel")
    names = net.getUnconnectedOutLayersNames()
    def run(x):
        net.setInput(x)
        return net.forward(names)
    return run
"""
FRAME = """
import json, sys, time, numpy as np
folder, device, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
x = np.load(folder + "/input.npy")
{engine}
start = time.perf_counter()
run = open()
outputs = run(x)
cold = time.perf_counter() - start
warm = []
while len(warm) < 3 or sum(warm) < seconds:
    start = time.perf_counter()
    run(x)
    warm.append(time.perf_counter() - start)
sums = sorted((a.shape, float(np.abs(a).sum())) for a in outputs)
print(json.dumps([cold, sorted(warm)[len(warm) // 2], [total for _, total in sums]]))
"""


class Times(NamedTuple):
    """Seconds from the files to the first output, and of a warm run; the outputs' sums."""

    cold: float
    warm: float
    sums: list[float]


def make_net(name: str, batch: int, folder: Path) -> None:
    """Write net.prototxt, net.caffemodel, net.onnx and input.npy."""
    message, _ = reader.read_net(NETS[name] / "net.prototxt")
    message = select(upgrade(message), TEST)
    for layer in message.layer:
        for shape in layer.input_param.shape:
            shape.dim[0] = batch
        _draw(layer.convolution_param, layer.inner_product_param)
    prototxt = folder / "net.prototxt"
    writer.write_text(message, prototxt)
    net = _with_variances(pipeline.load(prototxt, rng="fast"))
    pipeline.save(net, folder / "net.caffemodel")
    pipeline.convert(prototxt, folder / "net.caffemodel", folder / "net.onnx")
    shape = net.graph.inputs[0].shape
    np.save(folder / "input.npy", np.random.default_rng(0).standard_normal(shape, np.float32))


def _draw(*params: NetParameter) -> None:
    for param in params:
        if param.num_output:
            param.weight_filler.Clear()
            param.weight_filler.type = "msra"


def _with_variances(net: Net) -> Net:
    """Return the net with BatchNorm variances of 1, which the fillers leave at 0."""
    ones = tuple(
        (arrays[0], np.ones_like(arrays[1]), np.ones_like(arrays[2]))
        if node.layer.proto.type == "BatchNorm"
        else arrays
        for node, arrays in zip(net.graph.nodes, net.arrays, strict=True)
    )
    return replace(net, arrays=ones)


def measure(python: Path, engine: str, folder: Path, device: str, seconds: float) -> Times:
    """Run one turn: a process that opens the net, runs it once, and runs it warm."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, "-c", FRAME.format(engine=engine), folder, device, str(seconds)]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env)
    return Times(*json.loads(child.stdout))


def compare(name: str, batch: int, opencv: Path, options: argparse.Namespace) -> bool:
    """Print a net's row; return whether neither time is above OpenCV's."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        make_net(name, batch, folder)
        turns = [
            (
                measure(Path(sys.executable), OURS, folder, options.device, options.seconds),
                measure(opencv, THEIRS, folder, "cpu", options.seconds),
            )
            for _ in range(options.repeat)
        ]
    for ours, theirs in turns[:1]:
        for a, b in zip(ours.sums, theirs.sums, strict=True):
            if abs(a - b) > 1e-3 * abs(b):
                raise SystemExit(f"{name}: the outputs differ: {a} and {b}")
    row, kept = f"{name:11} {batch:3}", True
    for kind in ("warm", "cold"):
        ours, theirs = (statistics.median(getattr(t[i], kind) for t in turns) for i in (0, 1))
        row += f"   {kind} {1e3 * ours:8.2f} ms {1e3 * theirs:8.2f} ms {ours / theirs:5.2f}x"
        kept &= ours <= theirs
    print(row, "" if kept else "  MISSED", flush=True)
    return kept


def opencv_python(folder: Path) -> Path:
    """Create an environment with OpenCV 4; return its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", OPENCV], check=True)
    return python


def main() -> int:
    """Run all nets; return status 1 if OpenCV is faster somewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="some of " + ", ".join(NETS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for onnxruntime")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each")
    parser.add_argument("--seconds", type=float, default=1.0, help="of warm runs in a turn")
    parser.add_argument("--opencv", type=Path, help="a Python that has OpenCV 4")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        opencv = options.opencv or opencv_python(Path(folder))
        print("net       batch   ours, OpenCV 4, ratio: a warm run; from files to an output")
        kept = [
            compare(name, int(batch), opencv, options)
            for name in options.nets.split(",")
            for batch in options.batches.split(",")
        ]
    if "CUDAExecutionProvider" in runtime().get_available_providers():
        device = options.device if options.device.startswith("cuda") else "cuda"
        chosen = ["--nets", options.nets, "--batches", options.batches, "--device", device]
        subprocess.run(
            [sys.executable, ROOT / "benchmarks/gpu.py", *chosen], check=device == options.device
        )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
