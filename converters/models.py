"""What subcommands run: a net or an ONNX file, and the arrays that go in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options


@dataclass(frozen=True)
class Model:
    """A model as the command line names it."""

    path: Path
    weights: Path | None
    selection: options.Selection

    def open(self, **changes: Any) -> tuple[Any, Any]:
        """What a Session takes, and the preprocessing that a prototxt states.

        Args:
            changes: over what the options say, for `pipeline.load`.
        """
        from caffe_compat import pipeline
        from caffe_compat.net.preprocess import from_prototxt

        if self.path.suffix == ".onnx":
            if self.weights is not None:
                raise typer.BadParameter(
                    "an .onnx file has its own weights", param_hint="--weights"
                )
            return self.path, None
        net = pipeline.load(self.path, self.weights, **self.selection.keywords() | changes)
        return net, from_prototxt(net.graph.net, self.path.parent)


ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", show_default=False, help="An .onnx or .prototxt file.")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="A prototxt's weights.")
]
