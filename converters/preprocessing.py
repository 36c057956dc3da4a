"""The options that say how a picture becomes a net's input, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from caffe_compat.net.preprocess import Preprocess


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(n) for n in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not numbers with commas, as 104,117,123") from None


def _size(text: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) not in (1, 2) or not all(n.isdecimal() and int(n) for n in sides):
        raise typer.BadParameter(f"{text!r} is neither a size, as 256, nor HEIGHTxWIDTH")
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True)
class Options:
    """How a picture becomes the net's input; None where not given."""

    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Preprocessing by name: imagenet-bgr, mtcnn, ssd-300 or unit; the options below "
            "change it.",
        ),
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
            "--mean-file", metavar="FILE", help="Subtract this picture: a binaryproto or .npy."
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
            "--resize", parser=_size, metavar="N|HxW", help="Resize the picture to this first."
        ),
    ] = None
    crop: Annotated[
        Any,
        typer.Option(
            "--crop",
            parser=_size,
            metavar="N|HxW",
            help="Cut out the middle (default the net's size).",
        ),
    ] = None

    @property
    def used(self) -> bool:
        """Whether any of them is."""
        return any(value is not None for value in vars(self).values())

    def __call__(self, base: Preprocess | None) -> Preprocess | None:
        """What they say over the preset, over `base`, the prototxt's; None if nothing does."""
        from caffe_compat.net.preprocess import PRESETS, Preprocess, mean_array

        if self.preset is not None and self.preset not in PRESETS:
            raise typer.BadParameter(
                f"{self.preset!r} is none of {', '.join(PRESETS)}", param_hint="--preset"
            )
        if self.mean is not None and self.mean_file is not None:
            raise typer.BadParameter("--mean and --mean-file are one or the other")
        changes: dict[str, Any] = {
            "mean": mean_array(self.mean_file) if self.mean_file is not None else self.mean,
            "scale": self.scale,
            "raw_scale": self.raw_scale,
            "order": None if self.bgr is None else "bgr" if self.bgr else "rgb",
            "resize": self.resize,
            "crop": self.crop,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        if self.preset is not None:
            base = PRESETS[self.preset]
        if base is None and not changes:
            return None
        return replace(base or Preprocess(), **changes)
