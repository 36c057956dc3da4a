"""Cuts of an image drawn at random until they meet the boxes as asked (sampler.cpp)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...caffe_pb2 import BatchSampler, SampleConstraint, Sampler
from ...errors import ShapeError
from ...types import Array
from ..streams import Engine
from .boxes import Boxes, coverage, jaccard

_MAX = float(np.finfo(np.float32).max)


def check(samplers: Sequence[BatchSampler]) -> None:
    """Refuse what SampleBBox's CHECKs refuse.

    Raises:
        ShapeError: a scale or an aspect ratio is out of range.
    """
    for sampler in (each.sampler for each in samplers):
        scales = (sampler.min_scale, sampler.max_scale)
        ratios = (sampler.min_aspect_ratio, sampler.max_aspect_ratio)
        if not 0 < scales[0] <= scales[1] <= 1:
            raise ShapeError(
                f"sampler: 0 < min_scale {scales[0]:g} <= max_scale {scales[1]:g} <= 1"
            )
        if not 0 < ratios[0] <= ratios[1] < _MAX:
            raise ShapeError(
                f"sampler: 0 < min_aspect_ratio {ratios[0]:g} <= max_aspect_ratio {ratios[1]:g}"
            )


def sample(samplers: Sequence[BatchSampler], boxes: Boxes, engine: Engine) -> Array | None:
    """Return one of the cuts that the samplers find, drawn at random; None where they find none.

    Args:
        samplers: of the layer.
        boxes: the image's boxes.
        engine: the stream of the thread that reads ahead.
    """
    found: list[Array] = []
    for sampler in samplers:
        if sampler.use_original_image:
            found += _samples(sampler, boxes, engine)
    return found[engine.next_u32() % len(found)] if found else None


def _samples(sampler: BatchSampler, boxes: Boxes, engine: Engine) -> list[Array]:
    found: list[Array] = []
    for _ in range(sampler.max_trials):
        if sampler.HasField("max_sample") and len(found) >= sampler.max_sample:
            break
        cut = _cut(sampler.sampler, engine)
        if _satisfies(sampler.sample_constraint, cut, boxes):
            found.append(cut)
    return found


def _cut(p: Sampler, engine: Engine) -> Array:
    scale = _uniform(engine, p.min_scale, p.max_scale)
    ratio = _uniform(engine, p.min_aspect_ratio, p.max_aspect_ratio)
    square = float(scale) ** 2  # in double, as std::pow
    ratio = max(ratio, np.float32(square))
    ratio = min(ratio, np.float32(1 / square))
    # In double, as the compilers of its days took sqrt: in float a cut may be larger than 1.
    root = math.sqrt(ratio)
    width, height = np.float32(float(scale) * root), np.float32(float(scale) / root)
    left = _uniform(engine, 0, float(np.float32(1) - width))
    top = _uniform(engine, 0, float(np.float32(1) - height))
    return np.array([left, top, left + width, top + height], np.float32)


def _uniform(engine: Engine, low: float, high: float) -> np.float32:
    value: np.float32 = engine.uniform(low, high, 1)[0]
    return value


def _satisfies(p: SampleConstraint, cut: Array, boxes: Boxes) -> bool:
    """Return whether some box meets the first of the constraints that are given.

    SatisfySampleConstraint looks at the others too, and then forgets what it saw.
    """
    shares: dict[str, Callable[[], Array]] = {
        "jaccard_overlap": lambda: jaccard(cut, boxes),
        "sample_coverage": lambda: coverage(cut, boxes, of="box"),
        "object_coverage": lambda: coverage(cut, boxes, of="boxes"),
    }
    for name, share in shares.items():
        least, most = f"min_{name}", f"max_{name}"
        if p.HasField(least) or p.HasField(most):
            values = share()
            keep = np.ones(len(values), bool)
            if p.HasField(least):
                keep &= values >= np.float32(getattr(p, least))
            if p.HasField(most):
                keep &= values <= np.float32(getattr(p, most))
            return bool(keep.any())
    return True
