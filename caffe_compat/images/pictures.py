"""Reads picture files as 8-bit RGB.

Whatever Pillow reads becomes height x width x 3, uint8:

- grey: the three channels are equal; bilevel: 0 and 255;
- 16 bits: divided by 257 and rounded, so that 65535 is 255;
- palette: its colours; CMYK, YCbCr, Lab and HSV: by Pillow's conversion;
- transparent: the alpha channel is dropped, as caffe.io and OpenCV's imread do, so what lies
  under a transparent pixel shows;
- several frames: the first; EXIF orientation: applied, as OpenCV's imread does.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..errors import ParseError
from ..types import Picture

if TYPE_CHECKING:
    from PIL.Image import Image


# Pillow's readers of raster pictures; not those that start other programs (EPS) or need a screen.
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

_MOST = 1 << 30  # bytes; as many pixels as Pillow allows take fewer in any of these formats


def read(source: str | Path | bytes, name: str | None = None) -> Picture:
    """Read a picture.

    Args:
        source: a file, or a file's bytes.
        name: what to call it in errors; by default the file's path.

    Returns:
        RGB, height x width x 3.

    Raises:
        ParseError: it is missing, empty, truncated or no picture; its pixels are floating point
            or more than 16 bits; or they are more than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_bytes(source)
    if not data:
        raise ParseError(f"{name}: an empty file, not a picture")
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow only warns up to twice its limit; the limit is kept here.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_known()) as opened:
                return _rgb(opened, name)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ParseError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ParseError(f"{name}: not a picture that Pillow can read") from None
    except ParseError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers raise many types
        raise ParseError(f"{name}: a damaged picture: {error}") from None


def read_bytes(path: str | Path) -> bytes:
    """A file's bytes.

    Raises:
        ParseError: it cannot be read.
    """
    return files.read_bytes(path, _MOST)


def find(places: Iterable[str | Path]) -> list[Path]:
    """The picture files that files, directories and glob patterns stand for.

    A directory stands for the files right in it that have a picture's suffix, sorted; a pattern
    for what it matches (`**` for any depth), sorted; a file for itself, whatever its name.

    Raises:
        ParseError: a directory or pattern stands for no picture.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            here = sorted(path for path in place.iterdir() if _is_picture(path))
        elif any(sign in str(place) for sign in "*?[") and not place.exists():
            root = Path(place.anchor) if place.anchor else Path()
            pattern = str(place.relative_to(place.anchor)) if place.anchor else str(place)
            here = sorted(path for path in root.glob(pattern) if path.is_file())
        else:
            here = [place]
        if not here:
            raise ParseError(f"{place}: no picture there")
        found += here
    return list(dict.fromkeys(found))


def _is_picture(path: Path) -> bool:
    from PIL import Image

    return Image.registered_extensions().get(path.suffix.lower()) in _FORMATS and path.is_file()


def _known() -> list[str]:
    """Those of the formats that this Pillow has."""
    from PIL import Image

    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _rgb(opened: Image, name: str) -> Picture:
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I"):
        return _from_16_bits(np.asarray(picture), name)
    if picture.mode == "F":
        raise ParseError(
            f"{name}: floating-point pixels, whose range is not known; save it with 8 or 16 bits"
        )
    if picture.mode in ("P", "PA", "RGBa"):
        picture = picture.convert("RGBA")  # the palette's alpha first, or Pillow warns
    return np.array(picture.convert("RGB"))


def _from_16_bits(wide: NDArray[Any], name: str) -> Picture:
    if wide.size and (wide.min() < 0 or wide.max() > 0xFFFF):
        raise ParseError(f"{name}: pixels of {wide.min()} to {wide.max()}, more than 16 bits")
    grey = ((wide.astype(np.int64) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)
