"""Image files: every kind of Pillow's becomes 8-bit RGB, and bad files are named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from caffe_compat.errors import ParseError
from caffe_compat.images import reader

RGB = np.random.default_rng(3).integers(0, 256, (6, 5, 3), np.uint8)


def saved(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_rgb_is_kept():
    np.testing.assert_array_equal(reader.read(saved(Image.fromarray(RGB))), RGB)


def test_grey_and_bilevel_have_equal_channels():
    grey = RGB[..., 0]
    pixels = reader.read(saved(Image.fromarray(grey)))
    np.testing.assert_array_equal(pixels, np.stack([grey] * 3, axis=-1))
    bits = reader.read(saved(Image.fromarray(grey > 127)))
    np.testing.assert_array_equal(bits[..., 1], np.where(grey > 127, 255, 0))


def test_sixteen_bits_are_rounded_to_eight():
    wide = np.array([[0, 128, 129, 257, 65535], [65406, 65407, 1000, 30000, 3]], np.uint16)
    pixels = reader.read(saved(Image.fromarray(wide)))
    np.testing.assert_array_equal(pixels[..., 2], np.rint(wide / 257).astype(np.uint8))


def test_transparent_pixels_keep_their_colour():
    alpha = np.random.default_rng(4).integers(0, 256, (6, 5, 1), np.uint8)
    pixels = reader.read(saved(Image.fromarray(np.concatenate([RGB, alpha], axis=-1))))
    np.testing.assert_array_equal(pixels, RGB)
    bands = [Image.fromarray(RGB[..., 0]), Image.fromarray(alpha[..., 0])]
    grey = Image.merge("LA", bands)
    np.testing.assert_array_equal(reader.read(saved(grey))[..., 1], RGB[..., 0])


def test_palette_with_transparency():
    image = Image.new("P", (4, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    image.putdata([0, 1, 2, 3])
    pixels = reader.read(saved(image, transparency=b"\x00\x80\xff\xff"))
    np.testing.assert_array_equal(pixels[0], [[10, 20, 30], [40, 50, 60], [70, 80, 90], [1, 2, 3]])


def test_cmyk_is_converted():
    pixels = reader.read(saved(Image.new("CMYK", (3, 2), (0, 255, 255, 0)), "TIFF"))
    assert pixels.shape == (2, 3, 3)
    np.testing.assert_array_equal(pixels[0, 0], [255, 0, 0])


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right-hand column
    pixels = reader.read(saved(Image.fromarray(RGB), exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(RGB, -1))


def test_of_several_frames_the_first_is_taken():
    frames = [Image.new("RGB", (3, 2), color) for color in ("red", "blue")]
    pixels = reader.read(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(pixels[0, 0], [255, 0, 0])


PNG = saved(Image.fromarray(RGB))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file, not an image"),
        (b"<html><body>404</body></html>", "not an image that Pillow can read"),
        (PNG[: len(PNG) - 40], "a damaged image"),
        (PNG[:20], "not an image that Pillow can read|a damaged image"),
        (saved(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"), "floating-point pixels"),
        (
            saved(Image.fromarray(np.full((2, 3), 70000, np.int32)), "TIFF"),
            "pixels of 70000 to 70000, more than 16 bits",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that Pillow can"),
    ],
)
def test_files_that_are_no_image(tmp_path, data, says):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ParseError, match=rf"a\.png: ({says})"):
        reader.read(path)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(ParseError, match=r"b\.png: no such file"):
        reader.read(tmp_path / "b.png")
    with pytest.raises(ParseError, match="directory"):
        reader.read(tmp_path)


def test_pillows_limit_of_pixels_is_enforced(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ParseError, match="30 pixels"):
        reader.read(PNG, "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ParseError, match=r"big\.png: .*30 pixels"):
        reader.read(PNG, "big.png")


def test_finding_images(tmp_path):
    for name in ("b.png", "a.JPG", "labels.txt", "c.eps", "deep/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def found(*places):
        return [p.relative_to(tmp_path).as_posix() for p in reader.find(places)]

    assert found(tmp_path) == ["a.JPG", "b.png"]
    assert found(tmp_path / "**" / "*.png") == ["b.png", "deep/d.png"]
    assert found(tmp_path / "b.png", tmp_path) == ["b.png", "a.JPG"]
    assert found(tmp_path / "gone.png") == ["gone.png"]
    (tmp_path / "[x].png").write_bytes(b"")
    assert found(tmp_path / "[x].png") == ["[x].png"]
    (tmp_path / "empty").mkdir()
    for place in ("empty", "*.webp"):
        with pytest.raises(ParseError, match="no image there"):
            found(tmp_path / place)
