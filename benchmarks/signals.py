"""The signals of 22 and 30 layers under xavier and msra, as in He et al. 2015, section 2.2.

    python benchmarks/signals.py [--quick] [--markdown FILE]

The nets have the paper's shape (3x3 convolutions and rectifiers) and fewer channels. The script
prints the variance at each depth, forward by onnxruntime and backward by this project's numpy; the
same with PReLU; then the loss of 30 layers trained on scikit-learn's digits by SGD with momentum,
in numpy alone. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import TEST, NetParameter
from caffe_compat.doctor import Run, examine, refill, variant
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.build import build
from caffe_compat.net.graph import Graph
from caffe_compat.net.net import Net
from caffe_compat.net.params import fill
from caffe_compat.prototxt import upgrade
from caffe_compat.prototxt.phase import select

SEED = 1701
RELU = 'type: "ReLU"'
DATA = """
layer {{ name: "data" type: "Input" top: "data" input_param {{
  shape {{ dim: {batch} dim: {channels} dim: {size} dim: {size} }} }} }}
"""
CONVOLUTION = """
layer {{ name: "conv{i}" type: "Convolution" bottom: "{below}" top: "conv{i}" convolution_param {{
  num_output: {width} kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
"""
RECTIFIER = """
layer {{ name: "act{i}" {act} bottom: "conv{i}" top: "conv{i}" }}
"""
CLASSIFIER = """
layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: {batch} }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "{below}" top: "fc" inner_product_param {{
  num_output: 10 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""


def stack(layers: int, width: int, size: int, act: str = RELU) -> Graph:
    """Return convolutions in a row, with a rectifier after each except the last."""
    return _build(
        DATA.format(batch=1, channels=width, size=size)
        + _convolutions(layers, width, act, last=False)
    )


def classifier(layers: int, width: int, batch: int) -> Graph:
    """Return convolutions and an InnerProduct, `layers` in all, for the digits' 8x8 pixels."""
    return _build(
        DATA.format(batch=batch, channels=1, size=8)
        + _convolutions(layers - 1, width, RELU, last=True)
        + CLASSIFIER.format(batch=batch, below=f"conv{layers - 1}")
    )


def _convolutions(layers: int, width: int, act: str, *, last: bool) -> str:
    text = ""
    for i in range(1, layers + 1):
        below = f"conv{i - 1}" if i > 1 else "data"
        text += CONVOLUTION.format(i=i, below=below, width=width)
        text += RECTIFIER.format(i=i, act=act) if i < layers or last else ""
    return text


def _build(text: str) -> Graph:
    return build(select(upgrade.upgrade(text_format.Parse(text, NetParameter())), TEST))


def measure(graph: Graph, fillers: Sequence[str], trials: int) -> list[Run]:
    """Measure the signals of a net under each filler."""
    first, *others = map(variant, fillers)
    diagnosis = examine(refill(graph, first), seed=SEED, trials=trials, compare=others)
    return [replace(diagnosis.runs[0], label=first.label), *diagnosis.runs[1:]]


class Table:
    """A table of text, for the terminal and as Markdown."""

    def __init__(self, title: str, head: Sequence[str]) -> None:
        self.title, self.rows = title, [list(head)]

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(list(cells))

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        aligned = [
            "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
            for row in self.rows
        ]
        rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
        return "\n".join([self.title, "", aligned[0], rule, *aligned[1:], ""])


def signals(layers: int, width: int, size: int, trials: int, places: Sequence[int]) -> Table:
    """Compare xavier with msra: the variance at some depths, forward and backward."""
    table = Table(
        f"{layers} layers of {width} channels on {size}x{size}, ReLU: variance at depth",
        ("filler", "way", *map(str, places), "a layer"),
    )
    for run in measure(stack(layers, width, size), ("xavier", "msra"), trials):
        _add(table, run, run.label, places)
    return table


def slopes(layers: int, width: int, size: int, trials: int, places: Sequence[int]) -> Table:
    """Compare msra without the slope of PReLU, with it, and with the slope found in the net."""
    table = Table(
        f"{layers} layers of {width} channels on {size}x{size}, PReLU: variance at depth",
        ("filler", "way", *map(str, places), "a layer"),
    )
    for a in (0.25, 0.5):
        act = f'type: "PReLU" prelu_param {{ filler {{ value: {a} }} }}'
        graph = stack(layers, width, size, act)
        for run in measure(graph, ("msra", f"msra:{a}", "msra:auto"), trials):
            _add(table, run, f"{run.label}, PReLU {a}", places)
    return table


def _add(table: Table, run: Run, label: str, places: Sequence[int]) -> None:
    layers = run.weighted
    ways = {"forward": [s.forward for s in layers], "backward": [s.backward or 0 for s in layers]}
    for way, values in ways.items():
        first, last = (values[0], values[-1]) if way == "forward" else (values[-1], values[0])
        rate = (last / first) ** (1 / (len(layers) - 1))
        table.add(label, way, *(f"{values[p - 1]:.3g}" for p in places), f"x {rate:.3f}")


def train(layers: int, width: int, steps: int, rate: float, batch: int = 64) -> Table:
    """Train on the digits under each filler, from the same seed with the same batches."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32).reshape(-1, 1, 8, 8)
    marks = [round(steps * k / 6) for k in range(7)]
    table = Table(
        f"{layers} layers of {width} channels on the digits, SGD {rate:g} with momentum 0.9, "
        f"batches of {batch}: mean loss around step",
        ("filler", *map(str, marks), "accuracy", "seconds"),
    )
    for label in ("xavier", "msra"):
        net = fill(refill(classifier(layers, width, batch), variant(label)), BoostRng(SEED))
        start = time.perf_counter()
        losses = _descend(net, pixels, labels, steps, rate, batch)
        seconds = time.perf_counter() - start
        near = max(1, steps // 30)
        means = [np.mean(losses[max(0, m - near) : m + near]) for m in marks]
        right = _accuracy(net, pixels, labels, batch)
        table.add(label, *(f"{m:.4f}" for m in means), f"{right:.1%}", f"{seconds:.0f}")
    return table


def _descend(
    net: Net, pixels: np.ndarray, labels: np.ndarray, steps: int, rate: float, batch: int
) -> list[float]:
    """Train in place by Caffe's SGD with momentum; return the loss at each step."""
    rng = np.random.default_rng(SEED)
    history = [[np.zeros_like(array) for array in arrays] for arrays in net.arrays]
    losses = []
    for _ in range(steps):
        some = rng.choice(len(pixels), batch, replace=False)
        values = net.run({"data": pixels[some], "label": labels[some].astype(np.float32)})
        losses.append(float(values["loss"]))
        _, grads = net.backward(values, {})
        for layer in zip(net.arrays, history, grads, strict=True):
            for array, v, grad in zip(*layer, strict=True):
                v *= np.float32(0.9)
                v += np.float32(rate) * grad
                array -= v
    return losses


def _accuracy(net: Net, pixels: np.ndarray, labels: np.ndarray, batch: int) -> float:
    right = total = 0
    for start in range(0, len(pixels) - batch + 1, batch):
        some = slice(start, start + batch)
        values = net.run({"data": pixels[some], "label": labels[some].astype(np.float32)})
        right += int((values["fc"].argmax(axis=1) == labels[some]).sum())
        total += batch
    return right / total


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller nets, fewer steps")
    parser.add_argument("--markdown", type=Path, help="write the tables to a file too")
    options = parser.parse_args()
    width, size, trials = (32, 24, 2) if options.quick else (64, 40, 4)
    tables = []
    for make in (
        lambda: signals(22, width, size, trials, (1, 5, 10, 15, 20, 22)),
        lambda: signals(30, width, size, trials, (1, 5, 10, 15, 20, 25, 30)),
        lambda: slopes(30, width, size, trials, (1, 5, 10, 15, 20, 25, 30)),
        lambda: train(30, 16, 30 if options.quick else 300, 0.002),
    ):
        start = time.perf_counter()
        tables.append(make())
        print(tables[-1])
        print(f"({time.perf_counter() - start:.0f} s)\n", flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(map(str, tables)), encoding="utf-8")


if __name__ == "__main__":
    main()
