"""The model of a subcommand: an ONNX file, or a prototxt with its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from ..images.prediction import load_batched
from ..net.net import Net
from ..net.sizes import Batch
from ..options import Filling, Inputs
from ..pipeline import load_net
from ..steps import open_weights
from . import options


@dataclass(frozen=True)
class Model:
    """A model as the command line names it."""

    path: Path
    weights: Path | None
    selection: options.Selection

    def __post_init__(self) -> None:
        if self.path.suffix == ".onnx" and self.weights is not None:
            raise typer.BadParameter("an .onnx file has its own weights", param_hint="--weights")

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
        return load_net(self.path, open_weights(self.weights), reading, Filling())

    def load_for(self, count: int) -> Net | Path:
        """Return the same, a net with a batch that suits a number of images if it allows that."""
        if self.path.suffix == ".onnx":
            return self.path
        stored = open_weights(self.weights)
        return load_batched(self.path, stored, count, self.selection.reading())


ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", show_default=False, help="An .onnx or .prototxt file.")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="A prototxt's weights.")
]
