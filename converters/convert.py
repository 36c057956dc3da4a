"""`caffe-compat convert`: a prototxt and its weights to an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..files import check_other
from ..net.fold import fold_batchnorm as fold
from ..net.net import Net
from ..onnx.opsets import OPSET
from ..onnx.writer import save as save_onnx
from ..options import Onnx
from ..pipeline import load_net, lower_net
from ..runtime.verification import compare as compare_with
from ..runtime.verification import verify as compare
from ..steps import open_weights
from . import deployment, options, preprocessing
from .terminal import say, say_file


class Target(str, Enum):
    """The readers of an ONNX file."""

    ONNXRUNTIME = "onnxruntime"
    OPENCV = "opencv"


class WeightsAs(str, Enum):
    """The places of an ONNX file's weights."""

    INLINE = "inline"
    EXTERNAL = "external"
    IN_PLACE = "in-place"


class Form(str, Enum):
    """What an output is where its suffix does not tell."""

    TORCH_SOURCE = "torch-source"


def command(
    net: options.Prototxt,
    weights: Annotated[Path | None, typer.Argument(metavar="WEIGHTS", show_default=False)] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="OUT.onnx|.pt2|.safetensors", help="The file to write."
        ),
    ],
    form: Annotated[
        Form | None,
        typer.Option(
            "--as",
            help="torch-source: write PyTorch code, OUT/model.py, and its weights beside it.",
        ),
    ] = None,
    opset: options.Opset = OPSET,
    weights_as: Annotated[
        WeightsAs | None,
        typer.Option(
            "--weights-as",
            help="Weights in the file (default below 1.5 GB), in OUT.onnx.data beside it, or "
            "left in the caffemodel.",
        ),
    ] = None,
    blob: Annotated[
        list[str] | None,
        typer.Option("--blob", metavar="NAME", help="A blob to add to the outputs (repeatable)."),
    ] = None,
    target: Annotated[
        Target,
        typer.Option(help="The file's reader: onnxruntime, or OpenCV 5's readNetFromONNX."),
    ] = Target.ONNXRUNTIME,
    fold_batchnorm: Annotated[
        bool,
        typer.Option(
            "--fold-batchnorm",
            help="Fold BatchNorm and Scale into the layers before them, where that is exact.",
        ),
    ] = False,
    deployed: deployment.Options,
    prep: preprocessing.Options,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare numpy with onnxruntime or torch, layer by layer."),
    ] = False,
    drawing: options.Drawing,
    source: options.Data,
    selection: options.Selection,
) -> None:
    """Convert a Caffe net to ONNX or to PyTorch.

    Without WEIGHTS the net is initialised by its fillers.
    """
    check_other(output, net)
    deployed.check(prep)
    if deployed.used and target != Target.ONNXRUNTIME:
        raise typer.BadParameter(
            "--target opencv goes without --bake-preprocess, --fp16 and --int8"
        )
    loaded = load_net(
        net, open_weights(weights), source.sized(net, selection.reading()), drawing.filling()
    )
    if fold_batchnorm:
        loaded, report = fold(loaded)
        for line in report.lines():
            say(line)
    if form or output.suffix in (".pt2", ".safetensors"):
        if deployed.used or weights_as or target != Target.ONNXRUNTIME:
            raise typer.BadParameter(
                "--weights-as, --target, --bake-preprocess, --fp16 and --int8 are for .onnx"
            )
        if form and output.suffix in (".onnx", ".pt2", ".safetensors"):
            raise typer.BadParameter(f"--as {form.value} writes a directory, not a {output.suffix}")
        write = _write_source if form else _write_torch
        write(loaded, output, blob or (), verify=verify)
        return
    place: Any = weights_as and weights_as.value
    onnx = Onnx(opset, place, tuple(blob or ()), target.value)
    onnx = replace(onnx, passes=deployed.passes(loaded, onnx, prep.choose(loaded, net)))
    saved = save_onnx(lower_net(loaded, onnx), output, onnx.weights_as)
    for path in saved.files:
        say_file(path)
    if saved.stored:
        say(f"stored in {output} itself: {', '.join(saved.stored)}")
    ignored = loaded.graph.ignored
    without = f"; without {', '.join(ignored)}, which the net has" if ignored else ""
    if verify:
        say(f"{compare(loaded, opset=opset)}{without}")
    elif ignored:
        say(f"converted{without}")


def _write_torch(net: Net, output: Path, blobs: Sequence[str], *, verify: bool) -> None:
    from ..torch import compute, export, to_torch  # only here: it loads PyTorch

    export(to_torch(net, blobs=blobs), output)
    say_file(output)
    if verify:
        say(compare_with(net, partial(compute, net), "torch"))


def _write_source(net: Net, output: Path, blobs: Sequence[str], *, verify: bool) -> None:
    from ..torch import compute_by_source, to_torch, write_source

    for path in write_source(to_torch(net, blobs=blobs), output):
        say_file(path)
    if verify:
        say(compare_with(net, partial(compute_by_source, net), "torch"))
