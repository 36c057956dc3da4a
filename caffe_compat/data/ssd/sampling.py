"""Cuts of an image drawn at random until they meet the boxes as asked (sampler.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import BatchSampler, SampleConstraint, Sampler
from ...errors import ShapeError
from ...fillers.rng.stream import TO_UNIT, Words
from ...types import Array
from ..streams import Engine
from .boxes import Boxes, coverage, jaccard

_MAX = float(np.finfo(np.float32).max)
_WORDS = 4  # that a cut takes: for its scale, its aspect ratio and its place


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
    """Draw up to max_trials cuts, until max_sample of them satisfy the constraint.

    They are drawn and looked at together; the words of those that were too many stay unread.
    """
    left = sampler.max_trials
    need = sampler.max_sample if sampler.HasField("max_sample") else left
    found: list[Array] = []
    while left and len(found) < need:
        cuts, drawn = _cuts(sampler.sampler, engine.peek(_WORDS * left).reshape(-1, _WORDS))
        whole = int(np.argmin(np.append(drawn.all(axis=1), False)))
        cuts = cuts[:whole] if whole else _cut(sampler.sampler, engine)
        good = np.flatnonzero(_satisfied(sampler.sample_constraint, cuts, boxes))
        if len(found) + len(good) >= need:
            good = good[: need - len(found)]
            cuts = cuts[: good[-1] + 1]
        found += [cuts[i] for i in good]
        left -= len(cuts)
        if whole:
            engine.u32(_WORDS * len(cuts))
    return found


def _cut(p: Sampler, engine: Engine) -> Array:
    """Draw one cut, word by word, drawing again what Boost draws again."""
    words: list[int] = []
    while len(words) < _WORDS:
        words.append(engine.next_u32())
        row = np.array(words + [0] * (_WORDS - len(words)), np.uint32)
        cuts, drawn = _cuts(p, row[np.newaxis])
        if not drawn[0, len(words) - 1]:
            words.pop()
    return cuts


def _cuts(p: Sampler, words: Words) -> tuple[Array, NDArray[np.bool_]]:
    """Return the cut that each row of words gives, and which words Boost would not draw again."""
    scale, first = _uniform(words[:, 0], p.min_scale, p.max_scale)
    ratio, second = _uniform(words[:, 1], p.min_aspect_ratio, p.max_aspect_ratio)
    square = scale.astype(np.float64) ** 2  # in double, as std::pow
    ratio = np.maximum(ratio, square.astype(np.float32))
    ratio = np.minimum(ratio, (1 / square).astype(np.float32))
    # In double, as the compilers of its days took sqrt: in float a cut may be larger than 1.
    root = np.sqrt(ratio.astype(np.float64))
    width, height = (scale * root).astype(np.float32), (scale / root).astype(np.float32)
    left, third = _uniform(words[:, 2], 0, 1 - width)
    top, fourth = _uniform(words[:, 3], 0, 1 - height)
    cuts = np.stack([left, top, left + width, top + height], axis=1)
    return cuts, np.stack([first, second, third, fourth], axis=1)


def _uniform(words: Words, low: float, high: float | Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return numbers from `low` to `high`, and whether Boost would not draw them again."""
    start = np.float32(low)
    end: Array = np.nextafter(np.asarray(high, np.float32), np.float32(np.inf))
    values: Array = (words.astype(np.float32) * TO_UNIT * (end - start) + start).astype(np.float32)
    return values, values < end


def _satisfied(p: SampleConstraint, cuts: Array, boxes: Boxes) -> NDArray[np.bool_]:
    """Return for which cuts some box meets the first of the constraints that are given.

    SatisfySampleConstraint looks at the others too, and then forgets what it saw.
    """
    shares: dict[str, Callable[[], Array]] = {
        "jaccard_overlap": lambda: jaccard(cuts, boxes),
        "sample_coverage": lambda: coverage(cuts, boxes, of="cut"),
        "object_coverage": lambda: coverage(cuts, boxes, of="boxes"),
    }
    for name, share in shares.items():
        least, most = f"min_{name}", f"max_{name}"
        if p.HasField(least) or p.HasField(most):
            values = share()
            keep = np.ones(values.shape, bool)
            if p.HasField(least):
                keep &= values >= np.float32(getattr(p, least))
            if p.HasField(most):
                keep &= values <= np.float32(getattr(p, most))
            some: NDArray[np.bool_] = np.any(keep, axis=1)
            return some
    return np.ones(len(cuts), bool)
