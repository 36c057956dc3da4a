"""onnxruntime on a GPU beside torch on the same GPU, each at its best: a table for docs/serving.md.

    python benchmarks/gpu_torch.py [--nets resnet50,ssd300] [--batches 1,64] [--dtypes fp32,fp16]

torch runs the module of `to_torch`; onnxruntime runs the model of `convert --target cuda` through
Session's own choice of options. Both have the same weights, and TF32 off. torch is timed with and
without channels_last, Session with its default search and the exhaustive one, and both sides with
and without CUDA graphs. Inputs and outputs are on the card. The table has each side's fastest
variant without and with a graph; the lines before it have them all. With --numpy follow the times
from numpy to numpy. A goal is at most 0.8 of torch's time at batch 1, and 1.0 at batch 64. With
--device cpu the script tries itself out.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import infer
import numpy as np
import onnxruntime as ort
import ssd300
import torch
from google.protobuf import text_format
from gpu import median

from caffe_compat import Session, pipeline, to_torch
from caffe_compat.caffe_pb2 import TEST, NetParameter
from caffe_compat.net.net import Net
from caffe_compat.onnx.lowering import Lowered
from caffe_compat.prototxt import reader, writer
from caffe_compat.prototxt.phase import select
from caffe_compat.prototxt.upgrade import upgrade
from caffe_compat.runtime.cuda import gpu_name, load_libraries
from caffe_compat.runtime.float16 import to_float16

NETS = ("resnet50", "googlenet", "vgg16", "ssd300")
Run = Callable[[], Any]
Variants = Iterator[tuple[str, Run]]
"""The names and the runs of variants; each is prepared when its turn comes."""

HEAD = "| net | batch | dtype | torch | ours | ratio | torch, graph | ours, graph | ratio |"
HEAD += "\n|" + "---|" * 9


def write(name: str, folder: Path) -> None:
    """Write net.prototxt, and net.caffemodel with weights drawn by msra."""
    if name == "ssd300":
        message = text_format.Parse(ssd300.text(1), NetParameter())
    else:
        message, _ = reader.read_net(infer.NETS[name] / "net.prototxt")
        message = select(upgrade(message), TEST)
        for layer in message.layer:
            infer._draw(layer.convolution_param, layer.inner_product_param)
    writer.write_text(message, folder / "net.prototxt")
    net = infer._with_variances(pipeline.load(folder / "net.prototxt", rng="fast"))
    pipeline.save(net, folder / "net.caffemodel")


def torch_variants(net: Net, x: np.ndarray, half: bool, device: str, *, records: bool) -> Variants:
    """Prepare torch's variants, one at a time; with CUDA graphs if they can be recorded."""
    kind = torch.float16 if half else torch.float32
    module = to_torch(net).eval().to(device, kind)
    for layout, name in ((torch.contiguous_format, "torch"), (torch.channels_last, "torch nhwc")):
        module.to(memory_format=layout)
        fed = torch.from_numpy(x).to(device, kind).contiguous(memory_format=layout)
        forward = partial(module, fed)
        yield name, partial(_synced, forward, device)
        if records:
            yield f"{name} graph", partial(_replay, forward, [])


def _synced(forward: Run, device: str) -> Any:
    with torch.no_grad():
        outputs = forward()
    if device == "cuda":
        torch.cuda.synchronize()
    return outputs


def _replay(forward: Run, recorded: list[Any]) -> None:
    """Replay the recorded graph, which the first call records."""
    if not recorded:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(3):
                forward()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            outputs = forward()
        recorded += [graph, outputs]
    recorded[0].replay()
    torch.cuda.synchronize()


def our_variants(
    lowered: Lowered, feeds: dict[str, np.ndarray], device: str, *, records: bool
) -> Variants:
    """Prepare Session's variants, one at a time, bound on the card."""
    searches: tuple[Literal["heuristic", "exhaustive"], ...] = ("heuristic", "exhaustive")
    for search in searches:
        session = Session(lowered, device, cuda_graph=records, conv_search=search)
        name = f"ours {search}"
        yield name, _bound(session, feeds, device, {"gpu_graph_id": "-1"} if records else {})
        if records:
            yield f"{name} graph", _bound(session, feeds, device, {})


def _bound(
    session: Session, feeds: dict[str, np.ndarray], device: str, config: dict[str, str]
) -> Run:
    """Return a run of the session that onnxruntime has for a Session, without copies to numpy."""
    inner = session._session
    binding = inner.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
    for name, dims in session.outputs.items():
        if None in dims:
            binding.bind_output(name, device, 0)
        else:
            value = ort.OrtValue.ortvalue_from_shape_and_type(dims, np.float32, device, 0)
            binding.bind_ortvalue_output(name, value)
    options = ort.RunOptions()
    for key, value in config.items():
        options.add_run_config_entry(key, value)

    def run() -> Any:
        inner.run_with_iobinding(binding, options)
        return binding

    return run


def fastest(variants: Variants, label: str, seconds: float) -> tuple[float, float]:
    """Print every variant's median; return the least without and with a graph."""
    times: dict[str, float] = {}
    for name, run in variants:
        try:
            times[name] = median(run, seconds)
        except Exception as error:  # noqa: PERF203  # one variant's fault shall not end the table
            print(f"{label} {name} fails: {str(error)[:160]!r}", flush=True)
    print(label, ", ".join(f"{n} {1e3 * t:.2f} ms" for n, t in times.items()), flush=True)
    kinds = ([t for n, t in times.items() if n.endswith("graph") == graph] for graph in (0, 1))
    plain, graph = (min(kind, default=math.nan) for kind in kinds)
    return plain, graph


def compare(name: str, folder: Path, batch: int, dtypes: list[str], options: Any) -> list[str]:
    """Return a net's rows at one batch; raise if the two sides disagree."""
    net = pipeline.load(folder / "net.prototxt", folder / "net.caffemodel", batch=batch)
    (value,) = net.graph.inputs
    x = np.random.default_rng(1).standard_normal(value.shape, np.float32)
    rows = []
    for dtype in dtypes:
        label, half = f"{name} {batch} {dtype}:", dtype == "fp16"
        device, seconds = options.device, options.seconds
        model = pipeline.lower(net, target="cuda", passes=(to_float16,) if half else ())
        # What waits for a number from the GPU, as an SSD for its count of boxes, is not recorded.
        waits = any(node.op_type == "NonZero" for node in model.model.graph.node)
        records = device == "cuda" and not waits
        torchs = torch_variants(net, x, half, device, records=records)
        theirs = fastest(torchs, label, seconds)
        own = our_variants(model, {value.blob: x}, device, records=records)
        ours = fastest(own, label, seconds)
        cells = [name, str(batch), dtype]
        for their, our in zip(theirs, ours, strict=True):
            cells += [f"{1e3 * their:.2f}", f"{1e3 * our:.2f}", f"{our / their:.2f}"]
        rows.append(f"| {' | '.join(cells)} |".replace("nan", "-"))
    if options.numpy:
        pair = from_numpy(net, x, options)
        print(f"{name} {batch} fp32, numpy to numpy: torch, ours {pair}", flush=True)
    return rows


def from_numpy(net: Net, x: np.ndarray, options: Any) -> str:
    """Return both sides' times from numpy to numpy, after a comparison of their outputs."""
    module = to_torch(net).eval().to(options.device)

    def theirs() -> list[np.ndarray]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(x).to(options.device))
        many = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.cpu().numpy() for output in many]

    with Session(pipeline.lower(net, target="cuda"), options.device) as session:
        ours = partial(session.run, x)
        first, other = next(iter(ours().values())), theirs()[0]
        if first.shape == other.shape and first.ndim < 4:
            off = float(np.abs(first - other).max() / np.abs(first).max())
            if off > 1e-4:
                raise SystemExit(f"torch and onnxruntime differ by {off:.1e}")
        pair = (median(theirs, options.seconds), median(ours, options.seconds))
    return ", ".join(f"{1e3 * t:.2f} ms" for t in pair)


def main(arguments: list[str] | None = None) -> int:
    """Print the variants and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help=f"some of {', '.join(NETS)}")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--dtypes", default="fp32,fp16")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--numpy", action="store_true", help="time from numpy to numpy, too")
    parser.add_argument("--device", default="cuda", help="cuda; cpu tries the script out")
    options = parser.parse_args(arguments)
    on_gpu = options.device == "cuda"
    if on_gpu:
        load_libraries()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    rows = []
    for name in options.nets.split(","):
        with tempfile.TemporaryDirectory() as path:
            write(name, Path(path))
            for batch in map(int, options.batches.split(",")):
                try:
                    rows += compare(name, Path(path), batch, options.dtypes.split(","), options)
                except Exception as error:  # the next net shall still be timed
                    print(f"{name} {batch}: fails: {type(error).__name__}: {str(error)[:300]}")
                torch.cuda.empty_cache()
    where = gpu_name(0) if on_gpu else "CPU"
    print(f"\n{where}, torch {torch.__version__}, onnxruntime {ort.__version__}; ms\n")
    print("\n".join([HEAD, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
