"""Images: decoded by OpenCV, and refused before that where they are cut short or too large."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from caffe_compat.data import images
from caffe_compat.errors import ParseError

from .cases import IMAGES


def picture(form, mode="RGB", size=(7, 5), **options):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


FORMS = [
    picture("JPEG"),
    picture("JPEG", progressive=True),
    picture("JPEG", "L"),
    picture("JPEG", exif=b"Exif\0\0" + bytes(200), icc_profile=bytes(70000)),
    picture("PNG"),
    picture("PNG", "LA"),
    picture("BMP"),
    picture("TIFF"),
    picture("WEBP"),
    picture("PPM"),
    picture("GIF"),
]


@pytest.mark.parametrize("data", FORMS)
def test_a_header_says_what_the_decoder_gives(data):
    assert images.check(data, "x") == (5, 7)
    image = images.decode(data, "x")
    assert image.shape[:2] == (5, 7)
    assert images.decode(data, "x", True).shape == (5, 7, 3)
    assert images.decode(data, "x", False).shape == (5, 7, 1)


def test_native_color_and_gray():
    data = picture("PNG", "RGBA")
    assert images.decode(data, "x").shape == (5, 7, 4)
    own = images.decode(picture("PNG"), "x")
    np.testing.assert_array_equal(
        own, np.asarray(Image.open(io.BytesIO(picture("PNG"))))[..., ::-1]
    )
    assert images.decode(picture("PNG", "L"), "x").shape == (5, 7, 1)
    assert images.planes(own).shape == (3, 5, 7)


@pytest.mark.parametrize("data", [picture("JPEG", size=(60, 50)), picture("PNG", size=(60, 50))])
def test_cut_short_at_any_byte(data):
    for cut in [*range(1, 40), *range(40, len(data) - 1, 97), len(data) - 13, len(data) - 1]:
        with pytest.raises(ParseError, match=r"^x: "):
            images.decode(data[:cut], "x")


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 1000])
def test_a_png_chunk_that_passes_the_end_takes_no_memory(length):
    data = picture("PNG")
    assert data[37:41] == b"IDAT"
    with pytest.raises(ParseError, match="x: a PNG that is cut short"):
        images.decode(data[:33] + struct.pack(">I", length) + data[37:], "x")


def test_a_jpegs_end_inside_its_thumbnail_does_not_count():
    thumbnail = picture("JPEG")
    exif = b"Exif\0\0" + thumbnail
    whole = picture("JPEG", size=(60, 50), exif=exif)
    assert images.check(whole, "x") == (50, 60)
    with pytest.raises(ParseError, match="x: a JPEG that is cut short"):
        images.check(whole[: len(whole) // 2], "x")


def bomb(side=60000):
    """A PNG of a few bytes whose header declares 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def test_a_bomb_takes_no_memory():
    large = io.BytesIO()
    Image.new("1", (12000, 12000)).save(large, "TIFF", compression="group4")
    tracemalloc.start()
    for data in (bomb(), large.getvalue()):
        with pytest.raises(ParseError, match=r"x: .*decompression bomb"):
            images.decode(data, "x")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_what_is_no_image_says_what_it_is():
    for data, says in [
        (b"", "damaged, or not an image"),
        (b"<html>", "not an image but an HTML page"),
        (b"PK\3\4" + bytes(99), "not an image but a zip archive"),
        (b"BM" + bytes(99), "damaged, or not an image"),
    ]:
        with pytest.raises(ParseError, match=f"x: {says}"):
            images.decode(data, "x")


def test_sixteen_bits_are_refused_unless_reduced():
    deep = cv2.imencode(".png", np.full((3, 4, 3), 40000, np.uint16))[1].tobytes()
    with pytest.raises(ParseError, match="x: has uint16 pixels; Caffe takes 8 bits"):
        images.decode(deep, "x")
    assert images.decode(deep, "x", True).dtype == np.uint8


def test_a_file_is_read_and_resized():
    path = IMAGES / "a.png"
    image = images.read_file(path, "x", True, (4, 9))
    expected = cv2.resize(cv2.imread(str(path)), (9, 4))
    np.testing.assert_array_equal(image, expected)
    assert images.read_file(path, "x", False, (4, 9)).shape == (4, 9, 1)
    with pytest.raises(ParseError, match=r"list: line 3: .*gone.png: no such file"):
        images.read_file(IMAGES / "gone.png", "list: line 3", True)


def test_a_format_that_cannot_be_written():
    with pytest.raises(ParseError, match=r"x: OpenCV cannot encode it as '.docx'"):
        images.encode(np.zeros((2, 2, 3), np.uint8), ".docx", "x")


def test_the_callers_opencv_stays_as_it_was():
    before = cv2.ipp.useIPP()
    with images.opencv() as opencv:
        assert not opencv.ipp.useIPP()
    assert cv2.ipp.useIPP() == before
