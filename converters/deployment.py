"""`convert --bake-preprocess --fp16 --int8`: a net as a service wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from ..errors import UnsupportedError
from ..net.net import Net
from ..net.preprocess import Preprocess
from ..onnx.lowering import Lowered
from ..onnx.passes import Pass
from ..onnx.passes.bake import bake
from ..options import Onnx
from ..packed import lower_net
from ..runtime.calibration import Feeds, calibrate
from ..runtime.float16 import to_float16
from ..runtime.int8 import coordinate_layers, to_int8
from ..runtime.parity import measure_parity
from ..runtime.sampling import draw_zeros, random_feeds
from ..runtime.session import Session
from . import preprocessing
from .terminal import say

RUNS = 4  # how many random inputs measure the parity if there are no images


class Int8(str, Enum):
    """The CPUs that an int8 model is for."""

    ANY = "any"
    VNNI = "vnni"


ImageSize: TypeAlias = Annotated[
    Any,
    typer.Option(
        "--image-size",
        parser=preprocessing.parse_size,
        metavar="N|HxW",
        help="With --bake-preprocess: every image has this size (default: any size).",
    ),
]


@dataclass(frozen=True)
class Options:
    """Preprocessing inside the model, and the numbers that it computes in."""

    bake_preprocess: Annotated[
        bool,
        typer.Option(
            "--bake-preprocess", help="Put the preprocessing in: the input is uint8 NHWC RGB."
        ),
    ] = False
    image_size: ImageSize = None
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Weights and arithmetic in float16; prints the parity.")
    ] = False
    int8: Annotated[
        Int8 | None,
        typer.Option(
            "--int8",
            help="Quantize to 8 bits; prints the parity. Weights have 7 bits, so that they are "
            "exact on any CPU; --int8=vnni: 8 bits, for x86 with VNNI and ARM. On a GPU --fp16 "
            "is the way.",
        ),
    ] = None
    calibrate: Annotated[
        list[str] | None,
        typer.Option("--calibrate", metavar="DIR", help="Images that give the ranges for --int8."),
    ] = None

    @property
    def used(self) -> bool:
        """Whether any of them changes the model."""
        return self.bake_preprocess or self.fp16 or self.int8 is not None

    @property
    def takes_images(self) -> bool:
        """Whether the preprocessing of images matters to them."""
        return self.bake_preprocess or bool(self.calibrate)

    def check(self, prep: preprocessing.Options) -> None:
        """Refuse options that have no meaning together."""
        if self.fp16 and self.int8:
            raise typer.BadParameter("--fp16 and --int8 exclude each other")
        if self.image_size and not self.bake_preprocess:
            raise typer.BadParameter("goes with --bake-preprocess", param_hint="--image-size")
        if self.int8 and not self.calibrate:
            raise typer.BadParameter(
                "needs images to calibrate with; give --calibrate DIR", param_hint="--int8"
            )
        if self.calibrate and not (self.fp16 or self.int8):
            raise typer.BadParameter("goes with --int8 or --fp16", param_hint="--calibrate")
        if prep.used and not self.takes_images:
            raise typer.BadParameter(
                "preprocessing options go with --bake-preprocess or --calibrate"
            )

    def passes(self, net: Net, onnx: Onnx, preprocess: Preprocess | None) -> tuple[Pass, ...]:
        """Return the passes for these options, in order; calibrate before the first.

        Args:
            net: the net.
            onnx: how it becomes an ONNX file, without these passes.
            preprocess: the steps from an image to the net's input, if they are known.

        Raises:
            UnsupportedError: no preprocessing to bake is known.
        """
        passes: list[Pass] = []
        if self.bake_preprocess and preprocess is None:
            raise UnsupportedError(
                "there is no preprocessing to bake: the prototxt has no transform_param",
                remedies=("preprocess",),
            )
        if self.fp16 or self.int8:
            passes.append(self._shrink(net, lower_net(net, onnx), preprocess))
        if self.bake_preprocess and preprocess is not None:
            passes.append(partial(bake, preprocess=preprocess, size=self.image_size))
        return tuple(passes)

    def sample(self, net: Net, model: Path, preprocess: Preprocess | None) -> Feeds | None:
        """Return one of the images to calibrate with as the model's input; None without them."""
        if not self.calibrate:
            return None
        steps = None if self.bake_preprocess else preprocess
        return _feeds(net, Session(model, "cpu"), steps, self.calibrate)[0]

    def _shrink(self, net: Net, lowered: Lowered, preprocess: Preprocess | None) -> Pass:
        """Return the pass to float16 or int8, which also prints its parity with float32."""
        reference = Session(lowered, "cpu")
        feeds = _feeds(net, reference, preprocess, self.calibrate or ())
        shrink: Pass = to_float16
        if self.int8:
            ranges = calibrate(lowered, feeds)
            shrink = partial(
                to_int8,
                ranges=ranges,
                float_layers=coordinate_layers(net.graph),
                vnni=self.int8 is Int8.VNNI,
            )

        def shrink_and_compare(lowered: Lowered) -> Lowered:
            smaller = shrink(lowered)
            if any(node.layer.samples for node in net.graph.nodes):
                say("parity with float32: not measured, since the net draws at random in every run")
            elif draw_zeros(net) is net:  # zeros are equal in any numbers
                say(measure_parity(reference, Session(smaller, "cpu"), feeds))
            return smaller

        return shrink_and_compare


def _feeds(
    net: Net, session: Session, preprocess: Preprocess | None, images: Sequence[str]
) -> list[Feeds]:
    """Return the images as the net's input; random input if there are none."""
    if images:
        from ..images.predictor import Predictor  # here, since they load Pillow
        from ..images.reader import find

        names = [str(path) for path in find(images)]
        return list(Predictor(session, preprocess).feeds(names))
    random = [random_feeds(net, seed) for seed in range(RUNS)]
    return [{name: feeds[name] for name in session.inputs} for feeds in random]
