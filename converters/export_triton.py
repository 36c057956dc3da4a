"""`caffe-compat export --triton`: a net for NVIDIA's Triton."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..images.triton import export
from ..net.net import Net
from ..onnx.opsets import OPSET
from ..onnx.passes import Pass
from ..options import Onnx
from . import deployment, models, options, preprocessing
from .flags import flags_of
from .grouping import refuse
from .terminal import say, say_file


@dataclass(frozen=True)
class Options:
    """The repository to write, and how Triton runs the model."""

    triton: Annotated[
        Path | None,
        typer.Option("--triton", metavar="DIR", help="The Triton model repository to write."),
    ] = None
    max_batch: Annotated[
        int, typer.Option("--max-batch", metavar="N", min=1, help="Largest batch of requests.")
    ] = 16
    delay: Annotated[
        int,
        typer.Option(
            "--delay", metavar="US", min=0, help="How long a batch may wait, in microseconds."
        ),
    ] = 1000
    opset: options.Opset = OPSET
    bake_preprocess: Annotated[
        bool,
        typer.Option(
            "--bake-preprocess",
            help="Put the prototxt's preprocessing in: the input is uint8 NHWC RGB.",
        ),
    ] = False
    image_size: deployment.ImageSize = None

    def write(
        self,
        model: models.Model,
        prep: preprocessing.Options,
        name: str,
        labels: Sequence[str] | None,
    ) -> None:
        """Write the model into the repository."""
        if self.triton is None:
            raise typer.BadParameter("names no folder", param_hint="--triton")
        loaded = model.load(batch=None if model.selection.input else "dynamic")
        passes: tuple[Pass, ...] = ()
        if isinstance(loaded, Net):
            bakes = self.bake_preprocess or prep.used
            if self.image_size and not bakes:
                raise typer.BadParameter("goes with --bake-preprocess", param_hint="--image-size")
            if bakes:
                deployed = deployment.Options(bake_preprocess=True, image_size=self.image_size)
                preprocess = prep.choose(loaded, model.path)
                passes = deployed.passes(loaded, Onnx(self.opset), preprocess)
        else:
            own = ("opset", "bake_preprocess", "image_size")
            refuse(self, "is for a prototxt, not for an .onnx file", *own)
            refuse(prep, "is for a prototxt, not for an .onnx file")
        written = export(
            loaded,
            self.triton,
            name,
            labels=labels,
            max_batch=self.max_batch,
            delay=self.delay,
            onnx=Onnx(self.opset, passes=passes),
        )
        for path in written.files:
            say_file(path)
        if written.unbatchable is not None:
            flags = flags_of(written)
            say(f"note: no dynamic batching, since {written.unbatchable}{flags}", err=True)
