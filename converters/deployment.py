"""`convert --bake-preprocess --fp16 --int8`: a net as a service wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import preprocessing
from .terminal import say

if TYPE_CHECKING:
    from caffe_compat.net.net import Net
    from caffe_compat.net.preprocess import Preprocess
    from caffe_compat.onnx.lowering import Lowered
    from caffe_compat.onnx.writer import Saved, WeightsAs

RUNS = 4  # how often the two are run beside each other where no pictures are given


@dataclass(frozen=True)
class Options:
    """What is put into the model, and in which numbers it computes."""

    bake_preprocess: Annotated[
        bool,
        typer.Option(
            "--bake-preprocess", help="Put the preprocessing in: the input is uint8 NHWC RGB."
        ),
    ] = False
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Weights and arithmetic in float16; prints the parity.")
    ] = False
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits; prints the parity.")] = (
        False
    )
    calibrate: Annotated[
        list[str] | None,
        typer.Option("--calibrate", metavar="DIR", help="Pictures to learn --int8's ranges from."),
    ] = None

    @property
    def given(self) -> bool:
        """Whether the model is to be anything but the net as it is."""
        return self.bake_preprocess or self.fp16 or self.int8

    def check(self, prep: preprocessing.Options) -> None:
        """Refuse options that say nothing together."""
        if self.fp16 and self.int8:
            raise typer.BadParameter("--fp16 and --int8 are one or the other")
        if self.int8 and not self.calibrate:
            raise typer.BadParameter(
                "needs pictures to learn ranges from; give --calibrate DIR", param_hint="--int8"
            )
        if self.calibrate and not (self.fp16 or self.int8):
            raise typer.BadParameter("goes with --int8 or --fp16", param_hint="--calibrate")
        if prep.given and not (self.bake_preprocess or self.calibrate):
            raise typer.BadParameter(
                "preprocessing options go with --bake-preprocess or --calibrate"
            )

    def save(
        self,
        net: Net,
        output: Path,
        preprocess: Preprocess | None,
        *,
        opset: int,
        weights_as: WeightsAs | None,
    ) -> Saved:
        """Write the model so, and say what smaller numbers cost."""
        from caffe_compat.errors import UnsupportedError
        from caffe_compat.onnx import writer
        from caffe_compat.onnx.lowering import lower
        from caffe_compat.onnx.passes import simplify
        from caffe_compat.onnx.passes.bake import bake

        lowered = simplify(lower(net, opset))
        if self.bake_preprocess and preprocess is None:
            raise UnsupportedError(
                "nothing says how to preprocess: the prototxt has no "
                "transform_param; give --preset, --mean, --scale, ..."
            )
        if self.fp16 or self.int8:
            if weights_as not in (None, "inline"):
                raise typer.BadParameter(
                    "smaller numbers are stored inline", param_hint="--weights-as"
                )
            pictures = self.calibrate or ()
            lowered = _smaller(net, lowered, output.parent, preprocess, self.int8, pictures)
        if self.bake_preprocess and preprocess is not None:
            lowered = bake(lowered, preprocess)
        return writer.save(lowered, output, weights_as)


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

    from caffe_compat.onnx import writer
    from caffe_compat.onnx.lowering import Lowered
    from caffe_compat.runtime import parity, precision
    from caffe_compat.runtime.session import Session

    with TemporaryDirectory(dir=folder) as beside:
        plain, small = Path(beside) / "float32.onnx", Path(beside) / "small.onnx"
        writer.save(lowered, plain, "inline")
        reference = Session(plain, "cpu")
        feeds = _feeds(net, reference, preprocess, calibrate)
        if int8:
            precision.to_int8(plain, small, feeds, precision.with_places(net.graph))
        else:
            precision.to_half(plain, small)
        say(parity.compare(reference, Session(small, "cpu"), feeds))
        return Lowered(onnx.load(small), {}, ())


def _feeds(
    net: Net, session: Any, preprocess: Preprocess | None, calibrate: Sequence[str]
) -> list[Any]:
    """The pictures given, made ready; without any, random input."""
    from caffe_compat.images import pictures
    from caffe_compat.images.predictor import Predictor
    from caffe_compat.runtime import verification

    if calibrate:
        names = [str(path) for path in pictures.find(calibrate)]
        return list(Predictor(session, preprocess).feeds(names))
    drawn = [verification.random_feeds(net, seed) for seed in range(RUNS)]
    return [{name: feed[name] for name in session.inputs} for feed in drawn]


def preprocessing_of(
    net: Net, prototxt: Path, stated: Callable[[Preprocess | None], Preprocess | None]
) -> Preprocess | None:
    """What the options say over what the prototxt says."""
    from caffe_compat.net.preprocess import from_prototxt

    return stated(from_prototxt(net.graph.net, prototxt.parent))
