"""The SSD branch's transformer: Caffe's, with resizing, noise, cuts and what becomes of boxes.

Every random number is drawn by `draw`, in the branch's order; `apply` does the rest. A distorted,
expanded or cut image is stored as JPEG and decoded again each time, as the branch does.
"""

from __future__ import annotations

import math

import numpy as np

from ...caffe_pb2 import TRAIN, LayerParameter, TransformationParameter
from ...errors import ShapeError
from ...types import AnyArray, Array, Shape, Size
from ..images import Pixels, decode, encode, planes
from ..source import State
from ..streams import CRand, Engine
from . import boxes as geometry
from . import distortion, resizing, sampling
from .boxes import Boxes
from .recipe import Expansion, Picture, Recipe, crop_box, cut_of, expanded_box, inside, size_of

GREY_BYTE = 0x20  # what an image that is not encoded is expanded with: a space


class SSDTransform:
    """A layer's transform_param and batch_samplers in its phase.

    Args:
        layer: the layer, with its phase.
        mean: of its mean_file, (channels, height, width); None where it has none.
        seed: the word for the transformer's engine; None where it needs none.
        thread: the word for the stream of the thread that reads ahead.
        rand: the C library's `rand()`.

    Raises:
        ShapeError: what Caffe's CHECKs refuse.
        UnsupportedError: noise that Caffe does not compute in bytes.
    """

    def __init__(
        self, layer: LayerParameter, mean: Array | None, seed: int | None, thread: int, rand: CRand
    ):
        p: TransformationParameter = layer.transform_param
        self._p = p
        if p.force_color and p.force_gray:
            raise ShapeError("gives both force_color and force_gray; one of them")
        if p.mean_file and p.mean_value:
            raise ShapeError("gives both mean_file and mean_value; one of them")
        if p.HasField("resize_param"):
            resizing.new_size(p.resize_param, (1, 1))
        if p.HasField("expand_param") and not p.expand_param.max_expand_ratio > 1:
            raise ShapeError(
                f"expand_param: max_expand_ratio must be above 1, and is "
                f"{p.expand_param.max_expand_ratio:g}"
            )
        resizing.check_noise(p.noise_param)
        self._samplers = list(layer.annotated_data_param.batch_sampler)
        sampling.check(self._samplers)
        self.color: bool | None = p.force_color if p.force_color or p.force_gray else None
        self._crop: Size = (p.crop_size,) * 2 if p.crop_size else (p.crop_h, p.crop_w)
        self._train = layer.phase == TRAIN
        self._mean = mean
        self._values = np.array(p.mean_value, np.float32)
        self._scale = np.float32(p.scale)
        self._engine = None if seed is None else Engine(seed)
        self._thread = Engine(thread)
        self._rand = rand

    @property
    def draws(self) -> bool:
        """Whether what becomes of an image depends on random numbers."""
        p = self._p
        noisy = p.noise_param.saltpepper or len(p.resize_param.interp_mode) > 1
        changed = p.HasField("distort_param") or p.HasField("expand_param")
        return bool(changed or noisy or self._samplers or self._engine)

    def state(self) -> State:
        """Return the streams' positions."""
        state: State = {"thread": self._thread.position(), "rand": self._rand.position()}
        if self._engine is not None:
            state["transform"] = self._engine.position()
        return state

    def restore(self, state: State) -> None:
        """Go to positions that `state` returned."""
        self._thread.seek(state["thread"])
        self._rand.seek(state["rand"])
        if self._engine is not None:
            self._engine.seek(state["transform"])

    def shape(self, picture: Picture) -> Shape:
        """Return what the record as it lies would become: (channels, height, width)."""
        channels, *size = picture.pixels.shape
        return self._shape(channels, (size[0], size[1]))

    def _shape(self, channels: int, size: Size) -> Shape:
        if self._p.HasField("resize_param"):
            size = resizing.new_size(self._p.resize_param, size)
        height, width = self._crop
        if size[0] < height or size[1] < width:
            raise ShapeError(f"crop {height}x{width} exceeds the image's {size[0]}x{size[1]}")
        if len(self._values) not in (0, 1, channels):
            raise ShapeError(
                f"gives {len(self._values)} mean_value for {channels} channels; one, or one each"
            )
        return (channels, height or size[0], width or size[1])

    def draw(self, picture: Picture) -> Recipe:
        """Draw what happens to the next image, and work out its boxes.

        Raises:
            ShapeError: what Caffe's CHECKs refuse.
        """
        p, channels = self._p, picture.pixels.shape[0]
        size: Size = (picture.pixels.shape[1], picture.pixels.shape[2])
        stated, boxes = picture.stated, picture.boxes
        distorted = expansion = cut = None
        if p.HasField("distort_param") and picture.encoded:
            distorted = distortion.draw(p.distort_param, self._thread, self._rand)
            stated = size
        if p.HasField("expand_param") and (ratio := self._draw_ratio()):
            expansion = self._draw_expansion(size, ratio)
            boxes = self._seen(expanded_box(expansion, size), boxes)
            size = stated = expansion.size
        if self._samplers:
            window = sampling.sample(self._samplers, boxes, self._thread)
            if window is not None:
                window = geometry.clip(window)
                cut = cut_of(window, size)
                boxes = self._seen(window, boxes)
                size = stated = size_of(cut)
        shape = self._shape(channels, size)
        mirror = bool(p.mirror and self._word(2))
        interpolation, salt = 0, np.empty((0, 2), np.int64)
        if picture.encoded:
            if p.HasField("resize_param"):
                interpolation = resizing.draw_interpolation(p.resize_param, self._thread)
                size = resizing.new_size(p.resize_param, size)
            salt = resizing.draw_salt(p.noise_param, size, self._thread)
        elif shape[1:] != (self._crop[0] or size[0], self._crop[1] or size[1]):
            raise ShapeError("resize_param resizes encoded images, and this one is not")
        corner = self._draw_corner(size)
        boxes = self._final(crop_box(corner, shape, size), stated, mirror, boxes)
        return Recipe(distorted, expansion, cut, interpolation, salt, mirror, corner, shape, boxes)

    def _word(self, n: int) -> int:
        if self._engine is None:
            raise ShapeError("crop_h and crop_w need crop_size or mirror in TRAIN: Caffe aborts")
        return self._engine.next_u32() % n

    def _draw_ratio(self) -> float:
        """Return how many times larger the image becomes; 0 where it stays."""
        p = self._p.expand_param
        if self._thread.uniform(0, 1, 1)[0] > np.float32(p.prob):
            return 0
        if abs(p.max_expand_ratio - 1) < 1e-2:
            return 0
        return float(self._thread.uniform(1, p.max_expand_ratio, 1)[0])

    def _draw_expansion(self, size: Size, ratio: float) -> Expansion:
        height, width = (int(np.float32(n) * np.float32(ratio)) for n in size)
        top = self._thread.uniform(0, height - size[0], 1)[0]
        left = self._thread.uniform(0, width - size[1], 1)[0]
        return Expansion((height, width), math.floor(top), math.floor(left))

    def _draw_corner(self, size: Size) -> tuple[int, int]:
        height, width = self._crop
        if not (height and width):
            return 0, 0
        if self._train:
            return self._word(size[0] - height + 1), self._word(size[1] - width + 1)
        return (size[0] - height) // 2, (size[1] - width) // 2

    def _seen(self, window: Array, boxes: Boxes) -> Boxes:
        """Return the boxes that are left, as a window sees them."""
        if self._p.HasField("emit_constraint"):
            boxes = boxes.only(geometry.emitted(self._p.emit_constraint, window, boxes))
        return geometry.project(window, boxes)

    def _final(self, crop: Array, stated: Size, mirror: bool, boxes: Boxes) -> Boxes:
        resized = self._p.HasField("resize_param") and len(boxes.corners) > 0
        if resized:
            boxes = geometry.resize(self._p.resize_param, stated, boxes)
        boxes = self._seen(crop, boxes)
        if mirror:
            boxes = geometry.mirror(boxes)
        if resized:
            boxes = geometry.extrapolate(self._p.resize_param, stated, crop, boxes)
        return boxes

    def apply(self, picture: Picture, recipe: Recipe, out: Array) -> None:
        """Write an image's values.

        Raises:
            ShapeError: they do not fit.
        """
        if recipe.shape != out.shape:
            raise ShapeError(f"is {recipe.shape} in a batch of {out.shape}; all of one size")
        pixels = self._image(picture, recipe) if picture.encoded else _bytes(picture, recipe)
        top, left = recipe.corner
        rows = slice(top, top + out.shape[1])
        columns = slice(left, left + out.shape[2])
        self._write(pixels, rows, columns, recipe.mirror, out, encoded=picture.encoded)

    def _image(self, picture: Picture, recipe: Recipe) -> AnyArray:
        image: Pixels = np.ascontiguousarray(picture.pixels.transpose(1, 2, 0))
        if recipe.distortion is not None:
            image = self._again(recipe.distortion.apply(image), picture.name)
        if recipe.expansion is not None:
            image = self._again(self._expand(image, recipe.expansion), picture.name)
        if recipe.cut is not None:
            cut = np.ascontiguousarray(image[recipe.cut.rows, recipe.cut.columns])
            image = self._again(cut, picture.name)
        if self._p.HasField("resize_param"):
            image = resizing.apply_resize(self._p.resize_param, image, recipe.interpolation)
        if self._p.HasField("noise_param"):
            image = resizing.apply_noise(self._p.noise_param, image, recipe.salt)
        return planes(image)

    def _again(self, image: Pixels, name: str) -> Pixels:
        return decode(encode(image, ".jpg", name), name, self.color)

    def _expand(self, image: Pixels, expansion: Expansion) -> Pixels:
        """Place an image in a larger one, of the mean's color or black."""
        channels = image.shape[2]
        larger = np.zeros((*expansion.size, channels), np.uint8)
        if self._mean is not None:
            if self._mean.shape != (channels, *expansion.size):
                raise ShapeError(
                    f"the mean_file is {self._mean.shape}, and the expanded image "
                    f"{(channels, *expansion.size)}"
                )
            larger[:] = self._mean.transpose(1, 2, 0).astype(np.int64) & 255
        elif self._values.size:
            larger[:] = np.clip(np.rint(self._values), 0, 255)
        rows, columns = inside(expansion, image.shape[:2])
        larger[rows, columns] = image
        return larger

    def _write(
        self,
        pixels: AnyArray,
        rows: slice,
        columns: slice,
        mirror: bool,
        out: Array,
        *,
        encoded: bool,
    ) -> None:
        if mirror:
            out = out[:, :, ::-1]
        cut = pixels[:, rows, columns]
        if self._mean is not None:
            mean = self._mean[:, rows, columns]
            if self._mean.shape != pixels.shape:
                raise ShapeError(
                    f"the mean_file is {self._mean.shape}, and the image {pixels.shape}"
                )
            # The branch looks up the mean where a mirrored pixel goes, not where it comes from.
            np.subtract(cut, mean[:, :, ::-1] if encoded and mirror else mean, out=out)
        elif self._values.size:
            np.subtract(cut, self._values[:, np.newaxis, np.newaxis], out=out)
        else:
            np.copyto(out, cut)
        if self._scale != 1:
            np.multiply(out, self._scale, out=out)


def _bytes(picture: Picture, recipe: Recipe) -> AnyArray:
    """Return the pixels of an image that is not encoded, expanded and cut."""
    pixels = picture.pixels
    if pixels.dtype != np.uint8 and (recipe.expansion or recipe.cut):
        raise ShapeError("float_data is neither expanded nor cut: Caffe reads bytes there")
    if recipe.expansion is not None:
        larger = np.full((len(pixels), *recipe.expansion.size), GREY_BYTE, np.uint8)
        rows, columns = inside(recipe.expansion, (pixels.shape[1], pixels.shape[2]))
        larger[:, rows, columns] = pixels
        pixels = larger
    if recipe.cut is not None:
        pixels = pixels[:, recipe.cut.rows, recipe.cut.columns]
    return pixels
