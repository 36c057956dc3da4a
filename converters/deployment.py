"""`convert --bake-preprocess --fp16 --int8`: a net as a service wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from . import preprocessing
from .terminal import say

if TYPE_CHECKING:
    from caffe_compat.net.net import Net
    from caffe_compat.net.preprocess import Preprocess
    from caffe_compat.onnx.lowering import Lowered
    from caffe_compat.runtime.calibration import Feeds
    from caffe_compat.runtime.session import Session

RUNS = 4  # how many random inputs measure the parity if there are no images


@dataclass(frozen=True)
class Options:
    """What goes into the model, and the numbers it computes in."""

    bake_preprocess: Annotated[
        bool,
        typer.Option(
            "--bake-preprocess", help="Put the preprocessing in: the input is uint8 NHWC RGB."
        ),
    ] = False
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Weights and arithmetic in float16; prints the parity.")
    ] = False
    int8: Annotated[bool, typer.Option("--int8", help="Quantize to 8 bits; prints the parity.")] = (
        False
    )
    calibrate: Annotated[
        list[str] | None,
        typer.Option("--calibrate", metavar="DIR", help="Images that give the ranges for --int8."),
    ] = None

    @property
    def used(self) -> bool:
        """Whether any of them changes the model."""
        return self.bake_preprocess or self.fp16 or self.int8

    def check(self, prep: preprocessing.Options) -> None:
        """Refuse options that have no meaning together."""
        if self.fp16 and self.int8:
            raise typer.BadParameter("--fp16 and --int8 exclude each other")
        if self.int8 and not self.calibrate:
            raise typer.BadParameter(
                "needs images to calibrate with; give --calibrate DIR", param_hint="--int8"
            )
        if self.calibrate and not (self.fp16 or self.int8):
            raise typer.BadParameter("goes with --int8 or --fp16", param_hint="--calibrate")
        if prep.used and not (self.bake_preprocess or self.calibrate):
            raise typer.BadParameter(
                "preprocessing options go with --bake-preprocess or --calibrate"
            )

    def passes(
        self, net: Net, lowered: Lowered, preprocess: Preprocess | None
    ) -> list[Callable[[Lowered], Lowered]]:
        """Return the passes that do it, in order; calibrate before the first.

        Args:
            net: the net.
            lowered: the model on which the passes will run.
            preprocess: from an image to the net's input, if that is known.
        """
        from caffe_compat.errors import UnsupportedError
        from caffe_compat.onnx.passes.bake import bake

        passes: list[Callable[[Lowered], Lowered]] = []
        if self.bake_preprocess and preprocess is None:
            raise UnsupportedError(
                "the preprocessing is not known: the prototxt has no "
                "transform_param; give --preset, --mean, --scale, ..."
            )
        if self.fp16 or self.int8:
            passes.append(self._smaller(net, lowered, preprocess))
        if self.bake_preprocess and preprocess is not None:
            passes.append(partial(bake, preprocess=preprocess))
        return passes

    def _smaller(
        self, net: Net, lowered: Lowered, preprocess: Preprocess | None
    ) -> Callable[[Lowered], Lowered]:
        """Return the pass to float16 or int8, which also prints its parity with float32."""
        from caffe_compat.runtime.calibration import calibrate
        from caffe_compat.runtime.float16 import to_float16
        from caffe_compat.runtime.int8 import coordinate_layers, to_int8
        from caffe_compat.runtime.parity import compare
        from caffe_compat.runtime.session import Session

        reference = Session(lowered, "cpu")
        feeds = _feeds(net, reference, preprocess, self.calibrate or ())
        change: Callable[[Lowered], Lowered] = to_float16
        if self.int8:
            ranges = calibrate(lowered, feeds)
            change = partial(to_int8, ranges=ranges, float_layers=coordinate_layers(net.graph))

        def change_and_compare(lowered: Lowered) -> Lowered:
            smaller = change(lowered)
            say(compare(reference, Session(smaller, "cpu"), feeds))
            return smaller

        return change_and_compare


def _feeds(
    net: Net, session: Session, preprocess: Preprocess | None, images: Sequence[str]
) -> list[Feeds]:
    """Return the images as the net's input; random input if there are none."""
    from caffe_compat.images import pictures
    from caffe_compat.images.predictor import Predictor
    from caffe_compat.runtime import verification

    if images:
        names = [str(path) for path in pictures.find(images)]
        return list(Predictor(session, preprocess).feeds(names))
    random = [verification.random_feeds(net, seed) for seed in range(RUNS)]
    return [{name: feeds[name] for name in session.inputs} for feeds in random]
