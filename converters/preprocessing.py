"""The options for the way from an image to a net's input."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..images.preprocessing import choose
from ..net.graph import Graph
from ..net.net import Net
from ..net.preprocess import PRESETS, Preprocess, from_prototxt

Preset = Enum("Preset", {name: name for name in PRESETS}, type=str)  # type: ignore[misc]


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(n) for n in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not numbers with commas, as 104,117,123") from None


def parse_size(text: str) -> tuple[int, int]:
    """Return the height and width of `256` or `480x640`.

    Raises:
        typer.BadParameter: the text is neither.
    """
    sides = text.split("x")
    if len(sides) not in (1, 2) or not all(n.isdecimal() and int(n) for n in sides):
        raise typer.BadParameter(f"{text!r} is neither a size, as 256, nor HEIGHTxWIDTH")
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True)
class Options:
    """The steps from an image to the net's input; None leaves a step as it is."""

    preset: Annotated[
        Preset | None,
        typer.Option("--preset", help="Preprocessing by name; the options below change it."),
    ] = None
    mean: Annotated[
        Any,
        typer.Option(
            "--mean",
            parser=_numbers,
            metavar="104,117,123",
            help="Subtract this: one value, or one a channel in the net's order.",
        ),
    ] = None
    mean_file: Annotated[
        Path | None,
        typer.Option(
            "--mean-file", metavar="FILE", help="Subtract this image: a binaryproto or .npy."
        ),
    ] = None
    scale: Annotated[
        float | None,
        typer.Option("--scale", metavar="F", help="Multiply by this after the mean is subtracted."),
    ] = None
    raw_scale: Annotated[
        float | None,
        typer.Option(
            "--raw-scale", metavar="F", help="Multiply the pixels, 0 to 255, before that."
        ),
    ] = None
    bgr: Annotated[
        bool | None,
        typer.Option("--bgr/--rgb", help="The order of the net's channels (default BGR)."),
    ] = None
    resize: Annotated[
        Any,
        typer.Option(
            "--resize", parser=parse_size, metavar="N|HxW", help="Resize the image to this first."
        ),
    ] = None
    crop: Annotated[
        Any,
        typer.Option(
            "--crop",
            parser=parse_size,
            metavar="N|HxW",
            help="Crop the centre (default: to the net's size).",
        ),
    ] = None

    @property
    def used(self) -> bool:
        """Whether any of them is given."""
        return any(value is not None for value in vars(self).values())

    def choose(self, net: Net | Graph | None, prototxt: Path) -> Preprocess | None:
        """Return the options' steps over those of the net's prototxt; None if there are none."""
        graph = net.graph if isinstance(net, Net) else net
        own = self.preset is None and self.mean is None and self.mean_file is None
        base = None if graph is None else from_prototxt(graph.net, prototxt.parent, mean=own)
        return choose(
            base,
            preset=self.preset and self.preset.value,
            mean=self.mean,
            mean_file=self.mean_file,
            scale=self.scale,
            raw_scale=self.raw_scale,
            order=None if self.bgr is None else "bgr" if self.bgr else "rgb",
            resize=self.resize,
            crop=self.crop,
        )
