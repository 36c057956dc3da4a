"""Reads image files as 8-bit RGB.

Every format of Pillow's becomes height x width x 3, uint8:

- grey: the three channels are equal; bilevel: 0 and 255;
- 16 bits: divided by 257 and rounded, so that 65535 is 255;
- palette: its colours; CMYK, YCbCr, Lab and HSV: by Pillow's conversion;
- transparent: the alpha channel is dropped, as by caffe.io and OpenCV's imread, so the colour
  under a transparent pixel shows;
- several frames: the first; EXIF orientation: applied, as by OpenCV's imread.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .. import files
from ..errors import ParseError
from ..types import AnyArray, Picture

# Pillow's readers of raster images; none that starts another program (EPS) or needs a screen.
_FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "BMP",
    "DIB",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
    "TGA",
    "JPEG2000",
    "ICO",
    "AVIF",
)

_MAX = 1 << 30  # bytes; Pillow's limit of pixels takes fewer in any of these formats


def read(source: str | Path | bytes, name: str | None = None) -> Picture:
    """Read an image.

    Args:
        source: a file, or a file's bytes.
        name: its name in errors; by default the file's path.

    Returns:
        RGB, height x width x 3.

    Raises:
        ParseError: it is missing, empty, truncated or no image; its pixels are floating point
            or more than 16 bits; or they are more than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_bytes(source)
    if not data:
        raise ParseError(f"{name}: an empty file, not an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that do not matter
            # Pillow only warns up to twice its limit; here it is an error.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_known()) as opened:
                return _rgb(opened, name)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ParseError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ParseError(f"{name}: not an image that Pillow can read") from None
    except ParseError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers raise many types
        raise ParseError(f"{name}: a damaged image: {error}") from None


def read_bytes(path: str | Path) -> bytes:
    """Return an image file's bytes.

    Raises:
        ParseError: it cannot be read.
    """
    return files.read_bytes(path, _MAX)


def find(places: Iterable[str | Path]) -> list[Path]:
    """Return the image files that files, directories and glob patterns name.

    A directory names the files right in it with an image's suffix, sorted; a pattern its matches
    (`**` for any depth), sorted; a file itself, whatever its name.

    Raises:
        ParseError: a directory or pattern names no image.
    """
    paths: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            names = sorted(path for path in place.iterdir() if _is_image(path))
        elif any(sign in str(place) for sign in "*?[") and not place.exists():
            root = Path(place.anchor) if place.anchor else Path()
            pattern = str(place.relative_to(place.anchor)) if place.anchor else str(place)
            names = sorted(path for path in root.glob(pattern) if path.is_file())
        else:
            names = [place]
        if not names:
            raise ParseError(f"{place}: no image there")
        paths += names
    return list(dict.fromkeys(paths))


def _is_image(path: Path) -> bool:
    return Image.registered_extensions().get(path.suffix.lower()) in _FORMATS and path.is_file()


def _known() -> list[str]:
    """Return the formats that this Pillow has."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _rgb(opened: Image.Image, name: str) -> Picture:
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        return _from_16_bits(np.asarray(image), name)
    if image.mode == "F":
        raise ParseError(
            f"{name}: floating-point pixels, whose range is not known; save it with 8 or 16 bits"
        )
    if image.mode in ("P", "PA", "RGBa"):
        image = image.convert("RGBA")  # the palette's alpha first, or Pillow warns
    return np.array(image.convert("RGB"))


def _from_16_bits(wide: AnyArray, name: str) -> Picture:
    if wide.size and (wide.min() < 0 or wide.max() > 0xFFFF):
        raise ParseError(f"{name}: pixels of {wide.min()} to {wide.max()}, more than 16 bits")
    grey = ((wide.astype(np.int64) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)
