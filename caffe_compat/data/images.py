"""Image files decoded as Caffe decodes them: by OpenCV, after a look at what they declare.

A file is refused before it is decoded where it is cut short, or declares more pixels than
`PIL.Image.MAX_IMAGE_PIXELS`: a decompression bomb takes no memory.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParseError
from ..files import foreign_format, read_bytes
from ..memory import require
from ..types import Size
from .cursor import Value
from .extras import extra

Pixels = NDArray[np.uint8]
"""Pixels as OpenCV has them: height x width x channels; three channels are BGR."""

MOST_BYTES = 1 << 30  # bytes of an image file
_SOS = 0xDA  # JPEG's markers: start of scan,
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # and start of frame, with the size
_PIL = threading.Lock()  # its warning becomes an error by a filter of the whole process


@contextmanager
def opencv() -> Iterator[Any]:
    """Give OpenCV without Intel's IPP, in this thread and while the block runs.

    Debian's OpenCV, and every other that Caffe was built with from source, has no IPP, whose
    bicubic interpolation is off by one here and there.

    Raises:
        CaffeCompatError: the extra `data` is not installed.
    """
    with extra("an image"):
        import cv2

    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield cv2
    finally:
        cv2.ipp.setUseIPP(before)


def decode(data: Value, name: str, color: bool | None = None) -> Pixels:
    """Decode an image file.

    Args:
        data: the file's bytes.
        name: what to call it in errors.
        color: True: three channels, BGR; False: one; None: those that the file has, alpha too.

    Raises:
        ParseError: it is no image, cut short, damaged, too large, or not of 8 bits.
        CaffeCompatError: the extra `data` is not installed.
    """
    height, width = check(data, name)
    require(24 * height * width, f"the pixels of {name}")  # four channels of 16 bits, three times
    with opencv() as cv2:
        flag = {None: cv2.IMREAD_UNCHANGED, True: cv2.IMREAD_COLOR, False: cv2.IMREAD_GRAYSCALE}
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flag[color])
        except cv2.error as error:
            raise ParseError(f"{name}: cannot be decoded: {error.err or error}") from None
    if image is None:
        raise ParseError(f"{name}: cannot be decoded: damaged or of a format OpenCV lacks")
    if image.dtype != np.uint8:
        raise ParseError(f"{name}: has {image.dtype} pixels; Caffe takes 8 bits")
    return _with_channels(image)


def read_file(path: Path, name: str, color: bool, size: Size | None = None) -> Pixels:
    """Decode an image file and resize it (Caffe's ReadImageToCVMat).

    Args:
        path: the file.
        name: what to call it in errors.
        color: True: three channels, BGR; False: one.
        size: (height, width) to resize to, bilinear; None: its own.

    Raises:
        ParseError: it is missing, or as for `decode`.
    """
    try:
        data = read_bytes(path, MOST_BYTES)
    except ParseError as error:
        raise ParseError(f"{name}: {error}") from None
    image = decode(data, name, color)
    return image if size is None else resize(image, size)


def planes(image: Pixels) -> Pixels:
    """Return (channels, height, width), a view of height x width x channels."""
    return image.transpose(2, 0, 1)


def resize(image: Pixels, size: Size, interpolation: int | None = None) -> Pixels:
    """Resize by OpenCV, bilinear unless another of its interpolations is given."""
    height, width = size
    with opencv() as cv2:
        how = cv2.INTER_LINEAR if interpolation is None else interpolation
        return _with_channels(cv2.resize(image, (width, height), interpolation=how))


def _with_channels(image: Any) -> Pixels:
    """Give an image of one channel, which OpenCV returns without it, its axis."""
    pixels: Pixels = image if image.ndim == 3 else image[:, :, np.newaxis]
    return pixels


def encode(image: Pixels, suffix: str, name: str) -> bytes:
    """Encode pixels as an image file, of the format that OpenCV knows by `suffix` (".jpg").

    Raises:
        ParseError: OpenCV has no such format, or it does not take such pixels.
    """
    with opencv() as cv2:
        try:
            done, data = cv2.imencode(suffix, image)
        except cv2.error:
            done = False
    if not done:
        raise ParseError(f"{name}: OpenCV cannot encode it as '{suffix}'")
    return bytes(data)


def check(data: Value, name: str) -> Size:
    """Return an image file's (height, width) by its header.

    Raises:
        ParseError: it is no image, is cut short, or declares too many pixels.
    """
    from PIL import Image

    if data[:3] == b"\xff\xd8\xff":
        height, width = _jpeg(memoryview(data), name)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        height, width = _png(bytes(data), name)
    else:
        height, width = _other(data, name)
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and height * width > most:
        raise ParseError(
            f"{name}: declares {height}x{width} pixels, more than PIL.Image.MAX_IMAGE_PIXELS "
            f"({most}): a decompression bomb?"
        )
    return height, width


def _jpeg(data: memoryview, name: str) -> Size:
    """Walk over a JPEG's segments to its first scan, and look for the end behind that."""
    size, at = None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _SOF and at + 9 <= len(data):
            size = struct.unpack_from(">HH", data, at + 5)
        if marker == _SOS:
            if size is None:
                break
            if bytes(data[at:]).find(b"\xff\xd9") < 0:
                raise ParseError(f"{name}: a JPEG that is cut short")
            return size[0], size[1]
        at += 2 + length
    raise ParseError(f"{name}: a JPEG without an image in it: cut short or damaged")


def _png(data: bytes, name: str) -> Size:
    """Walk over a PNG's chunks to its end: OpenCV allocates the size that a chunk declares."""
    at = 8
    while len(data) >= 33 and data[12:16] == b"IHDR" and at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return height, width
        at += 12 + length
    raise ParseError(f"{name}: a PNG that is cut short")


def _other(data: Value, name: str) -> Size:
    from PIL import Image

    try:
        with _PIL, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked by the caller
            with Image.open(io.BytesIO(data)) as image:
                return image.height, image.width
    except Image.DecompressionBombError as error:
        raise ParseError(f"{name}: {error}") from None
    except Exception:  # a damaged file makes Pillow's readers raise many types
        foreign = foreign_format(bytes(data[:1024]))
        what = foreign if foreign and "picture" not in foreign else "damaged, or not an image"
        raise ParseError(
            f"{name}: not an image but {what}" if foreign else f"{name}: {what}"
        ) from None
