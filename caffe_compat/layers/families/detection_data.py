"""Layers that read images with their objects, for MS-CNN and Cascade R-CNN, fed by the caller."""

from __future__ import annotations

from ...errors import ShapeError
from ...types import Shape
from ..regions import round_half_away
from ..registry import layer
from .data import Reader


class _FieldsReader(Reader):
    """Images, a map (N, 2 + coord_num, H, W) for each field, and the objects' boxes if asked for.

    A map has a label, a box and an overlap; a row of the boxes the image, the box and its label.
    """

    one_batch = has_source = False

    def _size(self) -> tuple[int, int]:
        """Return the images' height and width, 0 where they are the file's."""
        high, wide = self.p.resize_height, self.p.resize_width
        high, wide = (high, wide) if high and wide else (0, 0)
        if self.p.HasField("crop_width") and self.p.HasField("crop_height"):
            return self.p.crop_height or high, self.p.crop_width or wide
        return high, wide

    def _shapes(self, strides: list[int], maps: list[Shape | None], row: int) -> list[Shape | None]:
        """Return the shapes of images, maps and boxes of `row` numbers."""
        if not len(strides) == len(self.p.field_h) == len(self.p.field_w):
            raise ShapeError(
                f"needs as many field_h and field_w as maps: {len(self.p.field_h)}, "
                f"{len(self.p.field_w)} and {len(strides)}"
            )
        boxes: list[Shape | None] = [(1, row, 1, 1)] if self.p.output_gt_boxes else []
        shapes = [*self.batches(0, *self._size())[:1], *maps, *boxes]
        if len(self.proto.top) != len(shapes):
            raise ShapeError(f"needs {len(shapes)} tops, and has {len(self.proto.top)}")
        return shapes

    def _map(self, height: int, width: int) -> Shape | None:
        """Return the shape of a map; None where the images' size is the file's."""
        known = height and width
        return (self.p.batch_size, 2 + self.p.coord_num, height, width) if known else None


@layer(param="image_gt_data_param", bottoms=0, tops=(2, None))
class ImageGtData(_FieldsReader):
    """Images, maps of fields and boxes, fed by the caller.

    Height and width follow from crop_width and crop_height, or resize_width and resize_height.

    From: zhaoweicai/mscnn, src/caffe/layers/image_gt_data_layer.cpp
        (by reading alone)
    """

    def shapes(self) -> list[Shape | None]:
        height, width = self._size()
        strides = list(self.p.downsample_rate)
        maps = [self._map(height // stride, width // stride) for stride in strides]
        return self._shapes(strides, maps, 7)


@layer(param="detection_data_param", bottoms=0, tops=(1, None))
class DetectionData(_FieldsReader):
    """Images, maps of fields and boxes, fed by the caller.

    Height and width follow from crop_width and crop_height, or resize_width and resize_height; with
    the others the caller gives them.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/detection_data_layer.cpp
        (by reading alone)
    """

    def shapes(self) -> list[Shape | None]:
        height, width = self._size()
        strides = list(self.p.stride)
        sizes = ([int(round_half_away(n / each)) for n in (height, width)] for each in strides)
        return self._shapes(strides, [self._map(*size) for size in sizes], 8)


@layer(param="eval_data_param", bottoms=0, tops=(2, 3))
class EvalData(Reader):
    """Images, their objects' boxes, and their heights and widths, fed by the caller.

    Height and width follow from resize_width and resize_height, or the caller gives them.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/eval_data_layer.cpp
        (by reading alone)
    """

    one_batch = has_source = False

    def shapes(self) -> list[Shape | None]:
        high, wide = self.p.resize_height, self.p.resize_width
        images = self.batches(0, *((high, wide) if high and wide else (0, 0)))[:1]
        rest: list[Shape | None] = [(1, 8, 1, 1), (self.p.batch_size, 2, 1, 1)]
        return [*images, *rest[: len(self.proto.top) - 1]]
