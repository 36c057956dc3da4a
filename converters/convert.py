"""`caffe-compat convert`: a prototxt and its weights to an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from ..errors import CaffeCompatError
from ..files import check_outputs, check_suffix
from ..net.evaluations import report_left, without_evaluations
from ..net.fold import fold_batchnorm as fold
from ..net.net import Net
from ..net.roles import scores_only
from ..onnx.lowering import Lowered
from ..onnx.opsets import OPSET
from ..onnx.writer import save as save_onnx
from ..options import Onnx
from ..packed import load_net, lower_net
from ..runtime.calibration import Feeds
from ..runtime.differences import Verification
from ..runtime.placement import place
from ..runtime.sampling import draw_zeros
from ..runtime.verification import Compute
from ..runtime.verification import compare as compare_with
from ..runtime.verification import verify as compare
from ..steps import open_weights
from . import deployment, options, preprocessing
from .terminal import say, say_file


class Target(str, Enum):
    """The readers of an ONNX file."""

    ONNXRUNTIME = "onnxruntime"
    OPENCV = "opencv"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    WEBGPU = "webgpu"


class WeightsAs(str, Enum):
    """The places of an ONNX file's weights."""

    INLINE = "inline"
    EXTERNAL = "external"
    IN_PLACE = "in-place"


class Form(str, Enum):
    """The kind of an output whose suffix does not tell."""

    TORCH_SOURCE = "torch-source"


def command(
    net: options.Prototxt,
    weights: Annotated[Path | None, typer.Argument(metavar="WEIGHTS", show_default=False)] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.onnx|.pt2|.safetensors",
            help="The file to write (default: NET.onnx in the current folder, if there is none).",
        ),
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option(
            "--as",
            help="torch-source: write PyTorch code, OUT/model.py, and its weights beside it.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Without -o, replace a file that is there.")
    ] = False,
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
        typer.Option(
            help="The file's reader: onnxruntime anywhere, or on one kind of GPU; opencv, "
            "OpenCV 5's readNetFromONNX."
        ),
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
        typer.Option(
            "--verify", help="Compare the file with numpy, layer by layer; status 1 if they differ."
        ),
    ] = False,
    drawing: options.Drawing,
    fit: options.Fit,
    source: options.Data,
    selection: options.Selection,
) -> None:
    """Convert a Caffe net to ONNX or to PyTorch.

    Without WEIGHTS the net is initialised by its fillers.
    """
    output = output or _beside(net, "" if form else ".onnx", force=force)
    if not form:
        check_outputs([output], [net, weights])
        check_suffix(output, ".onnx", ".pt2", ".safetensors")
    deployed.check(prep)
    if deployed.used and target == Target.OPENCV:
        raise typer.BadParameter(
            "--target opencv goes without --bake-preprocess, --fp16 and --int8"
        )
    if deployed.int8 and target != Target.ONNXRUNTIME:
        raise typer.BadParameter(
            f"--int8 is for CPUs: --target {target.value} has no kernels with zero points, and "
            "half of it would run on the CPU; use --fp16"
        )
    loaded = load_net(
        net,
        open_weights(weights),
        source.sized(net, selection.reading()),
        drawing.filling(),
        fit.packed(),
    )
    if fold_batchnorm:
        loaded, report = fold(loaded)
        for line in report.lines():
            say(line)
    if form or output.suffix in (".pt2", ".safetensors"):
        if deployed.used or weights_as or target != Target.ONNXRUNTIME or opset != OPSET:
            raise typer.BadParameter(
                "--opset, --weights-as, --target, --bake-preprocess, --fp16 and --int8 are for "
                ".onnx"
            )
        if form and output.suffix in (".onnx", ".pt2", ".safetensors"):
            raise typer.BadParameter(f"--as {form.value} writes a directory, not a {output.suffix}")
        write = _write_source if form else _write_torch
        loaded, left = without_evaluations(loaded)
        report_left(left)
        write(loaded, output, blob or (), verify=verify)
        return
    place: Any = weights_as and weights_as.value
    plain = Onnx(opset, place, tuple(blob or ()), target.value)
    preprocess = prep.choose(loaded, net) if deployed.takes_images else None

    def convert(net: Net) -> Lowered:
        return lower_net(net, replace(plain, passes=deployed.passes(net, plain, preprocess)))

    lowered = convert(loaded)
    saved = save_onnx(lowered, output, place)
    for path in saved.files:
        say_file(path)
    if saved.stored:
        say(f"stored in {output} itself: {', '.join(saved.stored)}")
    _say_placement(lowered, target, opset)
    result = None
    if verify:
        result = _verify(loaded, output, convert, deployed.sample(loaded, output, preprocess))
    _report(result, loaded)
    cut, left = without_evaluations(loaded)
    if scores_only(cut.graph):
        say("note: the outputs are losses and accuracies; --deploy gives predictions", err=True)
    elif any(node.layer.loss for node in left):
        say("note: the net is one for training; --deploy gives the one that predicts", err=True)


def _beside(net: Path, suffix: str, *, force: bool) -> Path:
    """Return the net's name with the suffix, in the current folder.

    Raises:
        CaffeCompatError: such a file is there, as when two nets are called deploy.prototxt.
    """
    output = Path(f"{net.stem}{suffix}")
    if output.exists() and not force:
        raise CaffeCompatError(f"{output}: is there already; name another file with -o, or --force")
    return output


def _say_placement(lowered: Lowered, target: Target, opset: int) -> None:
    """Name the nodes that would leave an NVIDIA GPU, if it is the target or the opset is new."""
    on_cuda = target in (Target.CUDA, Target.TENSORRT)
    if on_cuda or (target == Target.ONNXRUNTIME and opset > OPSET):
        placement = place(lowered)
        for line in placement.lines() if placement.left or on_cuda else ():
            say(line, err=bool(placement.left))
        if placement.left and opset > OPSET:
            say(f"note: opset {OPSET} has more kernels on GPUs; --opset {OPSET}", err=True)


def _write_torch(net: Net, output: Path, blobs: Sequence[str], *, verify: bool) -> None:
    from ..torch import compute, export, to_torch  # only here: it loads PyTorch

    export(to_torch(net, blobs=blobs), output)
    say_file(output)
    _report(_verify_torch(net, compute) if verify else None, net)


def _write_source(net: Net, output: Path, blobs: Sequence[str], *, verify: bool) -> None:
    from ..torch import compute_by_source, to_torch, write_source

    for path in write_source(to_torch(net, blobs=blobs), output):
        say_file(path)
    _report(_verify_torch(net, compute_by_source) if verify else None, net)


def _verify_torch(net: Net, compute: Compute) -> Verification:
    """Compare torch with the net; where weights are all 0, with drawn weights."""
    drawn = draw_zeros(net)
    return replace(compare_with(drawn, compute, "torch"), drawn=drawn is not net)


def _verify(
    net: Net, output: Path, convert: Callable[[Net], Lowered], feeds: Feeds | None
) -> Verification:
    """Compare the file with the net; where weights are all 0, one with drawn weights."""
    drawn = draw_zeros(net)
    if drawn is net:
        return compare(net, output, feeds=feeds)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.onnx"
        save_onnx(convert(drawn), path)
        return replace(compare(drawn, path, feeds=feeds), drawn=True)


def _report(result: Verification | None, net: Net) -> None:
    """Print whether the file is verified, and without which fields; exit with 1 if it is not."""
    ignored = net.graph.ignored
    without = f"; without {', '.join(ignored)}, which the net has" if ignored else ""
    if result is not None or ignored:
        say(f"{result or 'converted'}{without}")
    if result is not None and not result.agrees:
        raise typer.Exit(1)
