"""The model of a subcommand: an ONNX file, or a prototxt with its weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from ..images.prediction import load_batched
from ..net.net import Net
from ..net.sizes import Batch
from ..options import Filling, Inputs
from ..packed import load_net
from ..steps import open_weights
from . import options
from .grouping import refuse

log = logging.getLogger("caffe_compat")

_STRICT = options.Fit()


@dataclass(frozen=True)
class Model:
    """A model as the command line names it."""

    path: Path
    weights: Path | None
    selection: options.Selection
    fit: options.Fit = _STRICT

    def __post_init__(self) -> None:
        if self.path.suffix == ".onnx" and self.weights is not None:
            raise typer.BadParameter("an .onnx file has its own weights", param_hint="--weights")
        if self.path.suffix == ".onnx":
            for group in (self.selection, self.fit):
                refuse(group, "is for a prototxt, not for an .onnx file")

    def load(self, inputs: Inputs | None = None, batch: Batch = None) -> Net | Path:
        """Return the ONNX file's path, or the prototxt's net.

        Args:
            inputs: shapes for inputs that the options leave as they are.
            batch: the batch if the options do not choose one.
        """
        if self.path.suffix == ".onnx":
            return self.path
        reading = self.selection.reading()
        reading = replace(
            reading, inputs={**(inputs or {}), **reading.inputs}, batch=reading.batch or batch
        )
        stored, copying = open_weights(self.weights), self.fit.packed()
        return self._checked(load_net(self.path, stored, reading, Filling(), copying))

    def load_for(self, count: int) -> Net | Path:
        """Return the same, a net with a batch that suits a number of images if it allows that."""
        if self.path.suffix == ".onnx":
            return self.path
        stored = open_weights(self.weights)
        reading, copying = self.selection.reading(), self.fit.packed()
        return self._checked(load_batched(self.path, stored, count, reading, copying))

    def _checked(self, net: Net) -> Net:
        """Return the net; without weights, log that its answers mean nothing."""
        if self.weights is None and any(node.blobs for node in net.graph.nodes):
            log.warning(
                "no weights are given: every weight was drawn by its filler, and the answers mean "
                "nothing; name the trained ones behind the net",
                extra={"last": True},
            )
        return net


ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", show_default=False, help="An .onnx or .prototxt file.")
]
Trained = Annotated[
    Path | None,
    typer.Argument(metavar="WEIGHTS", show_default=False, help="A prototxt's trained weights."),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="The same as WEIGHTS.")
]


def one_of(trained: Path | None, weights: Path | None) -> Path | None:
    """Return the weights, which are named at most once: as an argument or by --weights."""
    if trained is not None and weights is not None:
        raise typer.BadParameter("the weights are named twice", param_hint="--weights")
    return trained or weights
