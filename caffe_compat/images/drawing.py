"""Draws boxes and their labels onto images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import CaffeCompatError
from ..files import atomic, make_folder
from ..types import Picture
from . import reader
from .decode import Detection


class Drawings:
    """A folder of copies of images with their detections drawn in.

    Args:
        folder: created if it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._written: set[Path] = set()

    def add(self, image: str | Path, detections: Sequence[Detection]) -> Path:
        """Write a PNG copy of an image file; images of one name get different ones.

        Returns:
            The file written.

        Raises:
            CaffeCompatError: the copy would replace the image itself.
        """
        make_folder(self._folder)
        target = self._folder / f"{Path(image).stem}.png"
        while target in self._written:
            target = target.with_stem(f"{target.stem}_")
        self._written.add(target)
        if target.exists() and target.samefile(image):
            raise CaffeCompatError(f"{target}: is the image itself; name another folder to draw in")
        with atomic(target) as place:
            Image.fromarray(draw(reader.read(image), detections)).save(place, "PNG")
        return target


def draw(image: Picture, detections: Sequence[Detection]) -> Picture:
    """Return a copy of the image with a box, a label and a score for each detection."""
    copy = Image.fromarray(image)
    canvas = ImageDraw.Draw(copy)
    stroke = max(1, round(min(image.shape[:2]) / 200))
    font = ImageFont.load_default(max(10, 6 * stroke))
    for each in reversed(detections):  # the highest score on top
        color = _color(each.index)
        left, top, right, bottom = _inside(each.box, image)
        canvas.rectangle((left, top, right, bottom), outline=color, width=stroke)
        text = f"{each.label or each.index} {each.score:.2f}"
        x0, y0, x1, y1 = canvas.textbbox((left, top), text, font=font)
        y = top - (y1 - y0) - 4 if top >= y1 - y0 + 4 else top
        canvas.rectangle((left, y, left + x1 - x0 + 4, y + y1 - y0 + 4), fill=color)
        canvas.text((left + 2, y + 2 - (y0 - top)), text, fill=(0, 0, 0), font=font)
    return np.asarray(copy)


def _color(index: int) -> tuple[int, int, int]:
    """Return colours far apart for neighbouring classes: hues by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _inside(box: tuple[float, ...], image: Picture) -> tuple[float, float, float, float]:
    """Return the box within the image, its corners in order; a net's numbers may be any."""
    height, width = image.shape[:2]
    x = sorted(min(max(n, 0), width - 1) if n == n else 0 for n in box[::2])
    y = sorted(min(max(n, 0), height - 1) if n == n else 0 for n in box[1::2])
    return x[0], y[0], x[1], y[1]
