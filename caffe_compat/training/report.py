"""What becomes of a log beside the log: charts, and TensorBoard's events."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import CaffeCompatError
from . import chart
from .chart import Chart, Line
from .curves import Curve, Curves


class Report:
    """Draws the curves of a training when it ends, and whenever a snapshot is taken.

    Args:
        path: a `.html` or a `.png` file.

    Raises:
        CaffeCompatError: the suffix is neither, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        chart.check(path)  # before the training
        self._path, self._curves = path, Curves()

    def __call__(self, line: str) -> None:
        """Take a line of the log."""
        self._curves.read(line)
        if "Snapshotting solver state" in line:
            self.close()

    def close(self) -> None:
        """Write the file, unless the training failed before its first line of numbers."""
        if self._curves.loss.iterations or self._curves.test:
            chart.save(charts({"": self._curves}), self._path, "Training")


class Events:
    """Writes TensorBoard's event files.

    Args:
        folder: where they go.

    Raises:
        CaffeCompatError: the package that writes them is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            writer = importlib.import_module("tensorboardX")
        except ImportError:
            raise CaffeCompatError(
                "TensorBoard's files are written by a package of the extra `tensorboard`: "
                "python -m pip install 'caffe_compat[tensorboard]'"
            ) from None
        self._writer: Any = writer.SummaryWriter(str(folder))
        self._curves = Curves()
        self._written: dict[str, int] = {}

    def __call__(self, line: str) -> None:
        """Take a line of the log."""
        self._curves.read(line)
        for name, curve in named(self._curves):
            if curve.iterations and self._written.get(name) != curve.iterations[-1]:
                self._written[name] = curve.iterations[-1]
                self._writer.add_scalar(name, curve.values[-1], curve.iterations[-1])

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def named(curves: Curves) -> Iterator[tuple[str, Curve]]:
    """Yield a training's curves with names as TensorBoard groups them."""
    yield "train/loss", curves.loss
    yield "train/learning_rate", curves.rate
    for blob, curve in curves.train.items():
        yield f"train/output/{blob}", curve
    for (net, blob), curve in curves.test.items():
        yield f"test{net}/{blob}", curve


def charts(trainings: Mapping[str, Curves]) -> list[Chart]:
    """Return the charts of trainings: the losses, what else the nets give, the learning rates.

    Args:
        trainings: by label.
    """
    blobs = dict.fromkeys(
        blob
        for each in trainings.values()
        for blob in (*each.train, *(blob for _, blob in each.test))
    )
    losses = [blob for blob in blobs if "loss" in blob.lower()]
    lines: list[Line] = []
    for label, each in trainings.items():
        lines += _lines(label, "train", each.loss)
        for blob in losses:
            lines += _tests(label, each, blob)
    drawn = [Chart("loss", lines, log=_spans_decades(lines))]
    for blob in blobs:
        if blob in losses:
            continue
        lines = []
        for label, each in trainings.items():
            lines += _lines(label, "train", each.train.get(blob, Curve()))
            lines += _tests(label, each, blob)
        drawn.append(Chart(blob, lines))
    rates = [line for label, each in trainings.items() for line in _lines(label, "", each.rate)]
    return [*drawn, Chart("learning rate", rates, log=_spans_decades(rates))]


def _tests(label: str, curves: Curves, blob: str) -> list[Line]:
    nets = [net for net, name in curves.test if name == blob]
    return [
        line
        for net in nets
        for line in _lines(
            label, f"test #{net}" if len(nets) > 1 else "test", curves.test[net, blob]
        )
    ]


def _lines(label: str, kind: str, curve: Curve) -> list[Line]:
    if not curve.iterations:
        return []
    return [Line(" ".join(filter(None, (label, kind))), curve.iterations, curve.values)]


def _spans_decades(lines: list[Line]) -> bool:
    values = [value for line in lines for value in line.y]
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) > 0 and max(positive) / min(positive) > 50
