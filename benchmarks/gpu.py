"""Nets on a GPU, against this machine's CPU and the card's own rates.

    python benchmarks/gpu.py [--nets lenet,vgg16] [--batches 1,16] [--device cuda[:N]]

For each net the script prints, from the medians of one run:
  CPU, GPU   time per image, from numpy to numpy; on the GPU through Session's bound buffers
  transfer   the share of the GPU's time that is saved if inputs and outputs stay on the card
  matmul     FLOP/s without transfer, as a share of the card's own at one large MatMul, same dtype
  memory     bytes/s without transfer, as a share of the card's own at a copy; counts the weights,
             inputs and outputs of Conv, ConvTranspose, Gemm and MatMul once, so that caches can
             raise it above 100%
  host       the time of the transferred bytes at the card's measured rates, as a share of transfer
The card's rates are measured first, in the same run through the same onnxruntime. TF32 is off, as
in Session. infer.py runs this script if onnxruntime has CUDA.

With --device cpu the same code runs on the CPU's provider, as in its tests. There "transfer" is
meaningless: nothing is transferred, and Session rewrites some nets for the CPU while the bound run
does not, so that it can be below 0. gpu_torch.py compares with torch on the same card.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from infer import NETS, make_net
from onnx import helper

from caffe_compat import Session
from caffe_compat.runtime.devices import Device, devices

FLOAT = onnx.TensorProto.FLOAT


class Work(NamedTuple):
    """The work of a net's products: floating-point operations, and bytes read and written."""

    flops: int
    bytes: int


class Rates(NamedTuple):
    """A device's rates: FLOP/s of a MatMul and of a Conv; bytes/s on it, to it, from it."""

    matmul: float
    conv: float
    memory: float
    up: float
    down: float


class Times(NamedTuple):
    """Seconds of a run: on the CPU, on the device from numpy to numpy, and without transfer."""

    cpu: float
    whole: float
    bound: float


class Shares(NamedTuple):
    """The fractions of the module's docstring; `host` is None without a time of transfer."""

    transfer: float
    matmul: float
    memory: float
    host: float | None


def count(model: onnx.ModelProto) -> Work:
    """Return the work of a model of fixed shapes.

    A multiplication and an addition are two operations.
    """
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    flops = moved = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        x, w, y = (shapes[name] for name in (*node.input[:2], node.output[0]))
        # Products for each output, or for each input of a ConvTranspose.
        if node.op_type == "Conv":
            products = prod(y) * prod(w[1:])
        elif node.op_type == "ConvTranspose":
            products = prod(x) * prod(w[1:])
        else:
            flipped = any(a.name == "transA" and a.i for a in node.attribute)
            products = prod(y) * x[0 if flipped else -1]
        flops += 2 * products
        moved += 4 * sum(map(prod, (x, w, y)))
    return Work(flops, moved)


def shares(times: Times, work: Work, rates: Rates, sent: int, fetched: int) -> Shares:
    """Return the shares that follow from the times.

    Args:
        times: of the net.
        work: of the net.
        rates: of the device.
        sent: bytes of the inputs.
        fetched: bytes of the outputs.
    """
    transfer = times.whole - times.bound
    ideal = sent / rates.up + fetched / rates.down
    return Shares(
        transfer / times.whole,
        work.flops / times.bound / rates.matmul,
        work.bytes / times.bound / rates.memory,
        ideal / transfer if transfer > 0 else None,
    )


def median(run: Callable[[], Any], seconds: float) -> float:
    """Return the median seconds of a run, after one that is not counted."""
    run()
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < seconds:
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def bind(model: str | bytes, device: Device, feeds: dict[str, np.ndarray]) -> Callable[[], None]:
    """Return a run whose inputs and outputs are on the device before and after it."""
    session = ort.InferenceSession(model, providers=list(device.providers))
    if device.provider not in session.get_providers():
        raise SystemExit(f"{device.name}: onnxruntime could not start {device.provider}")
    place = ("cuda" if device.on_gpu else "cpu", device.index)
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, *place))
    for output in session.get_outputs():
        value = ort.OrtValue.ortvalue_from_shape_and_type(output.shape, np.float32, *place)
        binding.bind_ortvalue_output(output.name, value)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def measure_rates(device: Device, size: int, seconds: float) -> Rates:
    """Measure the device's rates.

    Args:
        device: the device.
        size: the side of the square matrices; a whole multiple of 16.
        seconds: to spend on each rate.
    """
    square, x = (size, size), np.ones((size, size), np.float32)
    weights = np.full(square, 1 / size, np.float32)
    matmul = single("MatMul", square, square, weights)
    channels = size // 16
    maps = (16, channels, 64, 64)
    kernels = np.ones((channels, channels, 3, 3), np.float32)
    conv = single("Conv", maps, maps, kernels, pads=[1, 1, 1, 1])

    def duration(model: onnx.ModelProto, x: np.ndarray) -> float:
        return median(bind(model.SerializeToString(), device, {"x": x}), seconds)

    place = ("cuda" if device.on_gpu else "cpu", device.index)
    there = ort.OrtValue.ortvalue_from_numpy(x.copy(), *place)
    return Rates(
        count(matmul).flops / duration(matmul, x),
        count(conv).flops / duration(conv, np.ones(maps, np.float32)),
        2 * x.nbytes / duration(single("Neg", square, square), x),
        x.nbytes / median(lambda: there.update_inplace(x), seconds),
        x.nbytes / median(lambda: np.array(there.numpy()), seconds),  # as Session fetches it
    )


def single(
    kind: str, x: tuple[int, ...], y: tuple[int, ...], *weights: np.ndarray, **attributes: Any
) -> onnx.ModelProto:
    """Return a model of one node, from x to y."""
    names = [f"w{i}" for i in range(len(weights))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], **attributes)],
        kind,
        [helper.make_tensor_value_info("x", FLOAT, x)],
        [helper.make_tensor_value_info("y", FLOAT, y)],
        [onnx.numpy_helper.from_array(w, name) for name, w in zip(names, weights, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def measure(path: Path, device: Device, x: np.ndarray, seconds: float) -> tuple[Times, int]:
    """Return a net's times and the bytes of its outputs; stop if CPU and device disagree."""
    with Session(path, "cpu") as near, Session(path, device.name) as far:
        (name,) = near.inputs
        feeds = {name: x}
        outputs, expected = far.run(feeds), near.run(feeds)
        for name, array in expected.items():
            if not np.allclose(outputs[name], array, 1e-3, 1e-3 * float(np.abs(array).max())):
                raise SystemExit(f"{path}: the device's output {name} is not the CPU's")
        cpu = median(lambda: near.run(feeds), seconds)
        whole = median(lambda: far.run(feeds), seconds)
    bound = median(bind(str(path), device, feeds), seconds)
    return Times(cpu, whole, bound), sum(array.nbytes for array in outputs.values())


def row(name: str, batch: int, times: Times, part: Shares) -> str:
    """Return a line of the table."""
    cpu, gpu = (1e3 * seconds / batch for seconds in (times.cpu, times.whole))
    host = "    -" if part.host is None else f"{part.host:5.0%}"
    return (
        f"{name:11} {batch:3} {cpu:9.3f} ms {gpu:9.3f} ms {cpu / gpu:6.1f}x "
        f"{part.transfer:8.0%} {part.matmul:7.1%} {part.memory:7.1%}  {host}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the rates and a row for each net."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="some of " + ", ".join(NETS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--device", default="cuda", help="cuda[:N]; cpu tries the script out")
    parser.add_argument("--size", type=int, default=8192, help="side of the matrices for the rates")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    options = parser.parse_args(arguments)
    (device,) = devices(options.device)
    rates = measure_rates(device, options.size, options.seconds)
    print(
        f"{device.name}: MatMul {rates.matmul / 1e12:.3f} TFLOP/s, Conv {rates.conv / 1e12:.3f}; "
        f"memory {rates.memory / 1e9:.1f} GB/s, to it {rates.up / 1e9:.1f}, from it "
        f"{rates.down / 1e9:.1f}"
    )
    print(
        f"net       batch    CPU/image {device.name + '/image':>12}   ratio "
        "transfer  matmul  memory   host"
    )
    for name in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                make_net(name, batch, Path(folder))
                path, x = Path(folder, "net.onnx"), np.load(Path(folder, "input.npy"))
                times, fetched = measure(path, device, x, options.seconds)
                part = shares(times, count(onnx.load(path)), rates, x.nbytes, fetched)
            print(row(name, batch, times, part), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
