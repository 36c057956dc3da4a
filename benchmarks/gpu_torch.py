"""onnxruntime on a GPU beside torch on the same GPU, each at its best: a table for docs/serving.md.

    python benchmarks/gpu_torch.py [--nets resnet50,vgg16,ssd300] [--batches 1,64] [--seconds 0.4]

torch runs the module of `to_torch`; onnxruntime runs the file of `convert --target cuda`. Both have
the same weights, and TF32 off. In float32 and in float16 each side is timed in its variants: torch
with and without channels_last and CUDA graphs; onnxruntime with and without prefer_nhwc, with
fuse_conv_bias besides in float16, and with and without CUDA graphs, with cuDNN's search exhaustive.
Inputs and outputs are on the card. The table has each side's fastest variant; the lines before it
have them all. The last columns are from numpy to numpy, Session's own way. A goal is at most 0.8 of
torch's time at batch 1, and 1.0 at batch 64.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import infer
import numpy as np
import onnxruntime as ort
import ssd300
import torch
from gpu import median

from caffe_compat import Session, pipeline, to_torch
from caffe_compat.net.net import Net
from caffe_compat.onnx.lowering import Lowered
from caffe_compat.onnx.writer import save
from caffe_compat.runtime.cuda import gpu_name, load_libraries
from caffe_compat.runtime.float16 import to_float16

NETS = ("resnet50", "googlenet", "vgg16", "ssd300")
Run = Callable[[], Any]


class Row(NamedTuple):
    """Seconds of torch and of onnxruntime in a net's fastest variants."""

    net: str
    batch: int
    float32: tuple[float, float]
    float16: tuple[float, float]
    numpy: tuple[float, float]

    def line(self) -> str:
        """Return the row in Markdown."""
        cells = [self.net, str(self.batch)]
        for theirs, ours in (self.float32, self.float16, self.numpy):
            cells += [f"{1e3 * theirs:.2f}", f"{1e3 * ours:.2f}", f"{ours / theirs:.2f}"]
        return f"| {' | '.join(cells)} |"


HEAD = "| net | batch | " + " | ".join(
    f"torch {kind} | ours | ratio" for kind in ("fp32", "fp16", "numpy")
)
HEAD += " |\n|" + "---|" * 11


def load(name: str, batch: int, folder: Path) -> Net:
    """Return a net with weights drawn by msra."""
    if name == "ssd300":
        (folder / "ssd.prototxt").write_text(ssd300.text(batch))
        return pipeline.load(folder / "ssd.prototxt", rng="fast")
    infer.make_net(name, batch, folder)
    return pipeline.load(folder / "net.prototxt", folder / "net.caffemodel")


def torch_runs(net: Net, x: np.ndarray, half: bool) -> dict[str, Callable[[], Run]]:
    """Return functions that prepare torch's variants."""
    return {
        f"torch{' nhwc' * last}{' graph' * graph}": partial(_torch, net, x, half, last, graph)
        for last, graph in itertools.product((False, True), repeat=2)
    }


def _torch(net: Net, x: np.ndarray, half: bool, last: bool, graph: bool) -> Run:
    kind = torch.float16 if half else torch.float32
    layout = torch.channels_last if last else torch.contiguous_format
    module = to_torch(net).eval().to("cuda", kind).to(memory_format=layout)
    fed = torch.from_numpy(x).to("cuda", kind).contiguous(memory_format=layout)
    forward = partial(module, fed)
    return _graphed(forward) if graph else partial(_synced, forward)


def _synced(forward: Run) -> Any:
    with torch.no_grad():
        outputs = forward()
    torch.cuda.synchronize()
    return outputs


def _graphed(forward: Run) -> Run:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        outputs = forward()

    def run() -> Any:
        graph.replay()
        torch.cuda.synchronize()
        return outputs

    return run


def ours_runs(path: Path, feeds: dict[str, np.ndarray], half: bool) -> dict[str, Callable[[], Run]]:
    """Return functions that prepare onnxruntime's variants, bound on the card."""
    layouts = {"": {}, " nhwc": {"prefer_nhwc": "1"}}
    if half:
        layouts[" nhwc fused"] = {"prefer_nhwc": "1", "fuse_conv_bias": "1"}
    return {
        f"ours{name}{' graph' * graph}": partial(_bound, path, feeds, half, layout, graph)
        for (name, layout), graph in itertools.product(layouts.items(), (False, True))
    }


def _bound(
    path: Path, feeds: dict[str, np.ndarray], half: bool, layout: dict[str, str], graph: bool
) -> Run:
    options = {
        "device_id": "0",
        "use_tf32": str(int(half)),  # 0 would bar float16 from the tensor cores, too
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        **layout,
        "enable_cuda_graph": str(int(graph)),
    }
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 4
    session = ort.InferenceSession(
        str(path),
        quiet,
        providers=[("CUDAExecutionProvider", options), "CPUExecutionProvider"],
        enable_fallback=0,
    )
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for output in session.get_outputs():
        if all(isinstance(n, int) for n in output.shape):
            value = ort.OrtValue.ortvalue_from_shape_and_type(output.shape, np.float32, "cuda", 0)
            binding.bind_ortvalue_output(output.name, value)
        else:
            binding.bind_output(output.name, "cuda", 0)

    def run() -> np.ndarray:
        session.run_with_iobinding(binding)
        return binding

    return run


def fastest(runs: dict[str, Callable[[], Run]], label: str, seconds: float) -> float:
    """Print every variant's median and return the least; one that fails is named."""
    times = {}
    for name, prepare in runs.items():
        try:
            times[name] = median(prepare(), seconds)
        except Exception as error:  # noqa: PERF203  # one variant shall not end the table
            print(f"{label} {name}: fails: {str(error)[:160]}", flush=True)
    print(label, ", ".join(f"{n} {1e3 * t:.2f} ms" for n, t in times.items()), flush=True)
    return min(times.values(), default=math.nan)


def measure(name: str, batch: int, seconds: float) -> Row:
    """Return a net's row; stop if the two sides disagree."""
    with tempfile.TemporaryDirectory() as folder:
        net = load(name, batch, Path(folder))
        (value,) = net.graph.inputs
        x = np.random.default_rng(1).standard_normal(value.shape, np.float32)
        lowered = pipeline.lower(net, target="cuda")
        whole, half = (
            _written(each, Path(folder, f"{i}.onnx"))
            for i, each in enumerate((lowered, to_float16(lowered)))
        )
        numpy = _from_numpy(net, whole, value.blob, x, seconds)
        pairs = []
        for path, is_half in ((whole, False), (half, True)):
            label = f"{name} {batch} {'fp16' if is_half else 'fp32'}:"
            theirs = fastest(torch_runs(net, x, is_half), label, seconds)
            ours = ours_runs(path, {value.blob: x}, is_half)
            pairs.append((theirs, fastest(ours, label, seconds)))
    return Row(name, batch, pairs[0], pairs[1], numpy)


def _written(lowered: Lowered, path: Path) -> Path:
    return save(lowered, path).files[0]


def _from_numpy(
    net: Net, path: Path, blob: str, x: np.ndarray, seconds: float
) -> tuple[float, float]:
    """Return both sides' seconds from numpy to numpy, after a comparison of their outputs."""
    module = to_torch(net).eval().cuda()

    def theirs() -> list[np.ndarray]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(x).cuda())
        many = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.cpu().numpy() for output in many]

    with Session(path, "cuda") as session:
        ours = partial(session.run, {blob: x})
        first, other = next(iter(ours().values())), theirs()[0]
        if first.shape == other.shape and first.ndim < 4:
            off = float(np.abs(first - other).max() / np.abs(first).max())
            if off > 1e-4:
                raise SystemExit(f"{path}: torch and onnxruntime differ by {off:.1e}")
        return median(theirs, seconds), median(ours, seconds)


def main(arguments: list[str] | None = None) -> int:
    """Print the variants and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help=f"some of {', '.join(NETS)}")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    options = parser.parse_args(arguments)
    load_libraries()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    rows = []
    for name in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            try:
                rows.append(measure(name, batch, options.seconds).line())
            except Exception as error:  # the next net shall still be timed
                print(f"{name} {batch}: fails: {type(error).__name__}: {str(error)[:300]}")
            torch.cuda.empty_cache()
    print(f"\n{gpu_name(0)}, torch {torch.__version__}, onnxruntime {ort.__version__}; ms\n")
    print("\n".join([HEAD, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
