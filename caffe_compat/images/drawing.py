"""Draws boxes and their labels onto a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from ..types import Picture
from .decode import Detection


def draw(picture: Picture, found: Sequence[Detection]) -> Picture:
    """A copy of the picture with a box, a label and a score for each detection."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    canvas = ImageDraw.Draw(image)
    stroke = max(1, round(min(picture.shape[:2]) / 200))
    font = ImageFont.load_default(max(10, 6 * stroke))
    for each in reversed(found):  # the surest on top
        color = _color(each.index)
        left, top, right, bottom = _inside(each.box, picture)
        canvas.rectangle((left, top, right, bottom), outline=color, width=stroke)
        text = f"{each.label or each.index} {each.score:.2f}"
        x0, y0, x1, y1 = canvas.textbbox((left, top), text, font=font)
        y = top - (y1 - y0) - 4 if top >= y1 - y0 + 4 else top
        canvas.rectangle((left, y, left + x1 - x0 + 4, y + y1 - y0 + 4), fill=color)
        canvas.text((left + 2, y + 2 - (y0 - top)), text, fill=(0, 0, 0), font=font)
    return np.asarray(image)


def _color(index: int) -> tuple[int, int, int]:
    """Colours far apart for neighbouring classes: hues by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _inside(box: tuple[float, ...], picture: Picture) -> tuple[float, float, float, float]:
    """The box within the picture, its corners in order: a net may say anything."""
    height, width = picture.shape[:2]
    x = sorted(min(max(n, 0), width - 1) if n == n else 0 for n in box[::2])
    y = sorted(min(max(n, 0), height - 1) if n == n else 0 for n in box[1::2])
    return x[0], y[0], x[1], y[1]
