"""`convert --bake-preprocess --fp16 --int8`: a net as a service wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from .terminal import say

if TYPE_CHECKING:
    from caffe_compat.lowering import Lowered
    from caffe_compat.net import Net
    from caffe_compat.onnx_files import Saved, WeightsAs
    from caffe_compat.preprocess import Preprocess

RUNS = 4  # how often the two are run beside each other where no pictures are given


def check(*, bake: bool, fp16: bool, int8: bool, calibrate: list[str] | None, prep: bool) -> None:
    """Refuse options that say nothing together."""
    if fp16 and int8:
        raise typer.BadParameter("--fp16 and --int8 are one or the other")
    if int8 and not calibrate:
        raise typer.BadParameter("needs pictures to learn ranges from; give --calibrate DIR",
                                 param_hint="--int8")  # fmt: skip
    if calibrate and not (fp16 or int8):
        raise typer.BadParameter("goes with --int8 or --fp16", param_hint="--calibrate")
    if prep and not (bake or calibrate):
        raise typer.BadParameter("preprocessing options go with --bake-preprocess or --calibrate")


def save(
    net: Net,
    output: Path,
    *,
    opset: int,
    weights_as: WeightsAs | None,
    preprocess: Preprocess | None,
    bake: bool,
    fp16: bool,
    int8: bool,
    calibrate: Sequence[str],
) -> Saved:
    """Write the model with its preprocessing, or in smaller numbers, and say what that costs."""
    from caffe_compat import onnx_files
    from caffe_compat.bake import bake as put_in
    from caffe_compat.errors import UnsupportedError
    from caffe_compat.lowering import lower

    lowered = lower(net, opset)
    if bake and preprocess is None:
        raise UnsupportedError("nothing says how to preprocess: the prototxt has no "
                               "transform_param; give --preset, --mean, --scale, ...")
    if fp16 or int8:
        if weights_as not in (None, "inline"):
            raise typer.BadParameter("smaller numbers are stored inline", param_hint="--weights-as")
        lowered = _smaller(net, lowered, output.parent, preprocess, int8, calibrate)
    if bake and preprocess is not None:
        lowered = put_in(lowered, preprocess)
    return onnx_files.save(lowered, output, weights_as)


def _smaller(
    net: Net,
    lowered: Lowered,
    folder: Path,
    preprocess: Preprocess | None,
    int8: bool,
    calibrate: Sequence[str],
) -> Lowered:
    """The model in smaller numbers, after a line that says how far it is from float32."""
    import onnx

    from caffe_compat import onnx_files, precision
    from caffe_compat.lowering import Lowered
    from caffe_compat.session import Session

    with TemporaryDirectory(dir=folder) as beside:
        plain, small = Path(beside) / "float32.onnx", Path(beside) / "small.onnx"
        onnx_files.save(lowered, plain, "inline")
        reference = Session(plain, "cpu")
        feeds = _feeds(net, reference, preprocess, calibrate)
        if int8:
            precision.to_int8(plain, small, feeds, precision.with_places(net.graph))
        else:
            precision.to_half(plain, small)
        say(precision.compare(reference, Session(small, "cpu"), feeds))
        return Lowered(onnx.load(small), {}, ())


def _feeds(
    net: Net, session: Any, preprocess: Preprocess | None, calibrate: Sequence[str]
) -> list[Any]:
    """The pictures given, made ready; without any, random input."""
    from caffe_compat import pictures, verification
    from caffe_compat.predictor import Predictor

    if calibrate:
        names = [str(path) for path in pictures.find(calibrate)]
        return list(Predictor(session, preprocess).feeds(names))
    drawn = [verification.random_feeds(net, seed) for seed in range(RUNS)]
    return [{name: feed[name] for name in session.inputs} for feed in drawn]


def preprocessing_of(
    net: Net, prototxt: Path, stated: Callable[[Preprocess | None], Preprocess | None]
) -> Preprocess | None:
    """What the options say over what the prototxt says."""
    from caffe_compat.preprocess import from_prototxt

    return stated(from_prototxt(net.graph.net, prototxt.parent))
