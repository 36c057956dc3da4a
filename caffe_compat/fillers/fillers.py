"""Caffe's fillers: what a parameter blob holds before training, value for value.

float32 throughout, in Caffe's order of operations (caffe/include/caffe/filler.hpp). He et al. 2015
is "Delving Deep into Rectifiers"; `p` is a FillerParameter, `rng` where the values are drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..caffe_pb2 import FillerParameter
from ..errors import ShapeError, UnsupportedError
from .rng.stream import Floats, Rng

__all__ = ["FILLERS", "FORKS", "Rng", "check", "fan", "fans", "fill", "filler", "outputs", "sigma"]

Filler: TypeAlias = Callable[[Sequence[int], FillerParameter, Rng], Floats]

FILLERS: dict[str, Filler] = {}

_FORK = "only a fork of Caffe has it, and what that draws is nowhere recorded"
FORKS = {  # refused by name
    "diagonal": _FORK,
    "file": "only a fork of Caffe has it; it reads a file that the prototxt names",
    "gabor": _FORK,
    "gaussian_unitball": _FORK,
    "xiangyu": _FORK,
}
"""The forks' fillers that are refused by name, with the reason."""

_MASKED = 1 << 20  # how many of a sparse gaussian's values are masked at once


def filler(function: Filler) -> Filler:
    """Register a filler under its name."""
    FILLERS[function.__name__] = function
    return function


def fill(shape: Sequence[int], p: FillerParameter | None, rng: Rng) -> Floats:
    """A new blob of this shape, filled; None fills with zeros.

    Raises:
        ShapeError: Where Caffe's CHECKs would abort: parameters that contradict each other or
            the shape; also parameters that are NaN or infinite.
        UnsupportedError: For a filler that BVLC Caffe does not have.
    """
    if p is None:
        return np.zeros(shape, np.float32)
    check(shape, p)
    return FILLERS[p.type](shape, p, rng).reshape(shape)


def check(shape: Sequence[int], p: FillerParameter) -> None:
    """Raise what `fill` would, without filling; what only a draw finds out is left to it."""
    if p.type in FORKS:
        raise UnsupportedError(f"filler {p.type!r}: {FORKS[p.type]}")
    if p.type not in FILLERS:
        raise UnsupportedError(f"Unknown filler name: {p.type} (known: {', '.join(FILLERS)})")
    for field, value in p.ListFields():
        if isinstance(value, float) and not math.isfinite(value):
            raise ShapeError(f"filler {p.type!r}: {field.name} is {value}")
    if min(shape, default=1) < 0 or not 0 < math.prod(shape) < 2**31:
        raise ShapeError(f"filler {p.type!r}: a blob of shape {_dims(shape)} cannot be filled")
    if p.type != "gaussian" and p.sparse != -1:
        raise ShapeError(
            f"filler {p.type!r}: sparse() == -1 ({p.sparse} vs. -1): "
            "Sparsity not supported by this Filler."
        )


def _dims(shape: Sequence[int]) -> str:
    return " ".join([*map(str, shape), f"({math.prod(shape)})"])


def fan(shape: Sequence[int], variance_norm: int) -> np.float32:
    """How many connections a blob's variance is shared among: n of xavier and msra.

    The first axis is taken for the outputs and the second for the inputs, whatever the layer
    makes of them; integer division; of a 1-D blob all values count as outputs.

    Args:
        shape: Of the blob, of any rank above 0.
        variance_norm: FillerParameter's FAN_IN, FAN_OUT, or AVERAGE of both.

    Raises:
        ShapeError: For a 0-D blob.
    """
    fan_in, fan_out = fans(shape)
    if variance_norm == FillerParameter.AVERAGE:
        return np.float32(fan_in + fan_out) / np.float32(2)
    return np.float32(fan_out if variance_norm == FillerParameter.FAN_OUT else fan_in)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """FAN_IN's and FAN_OUT's count for a blob of this shape.

    Raises:
        ShapeError: For a 0-D blob.
    """
    count = math.prod(shape)
    return count // outputs(shape), count // shape[1] if len(shape) > 1 else count


def outputs(shape: Sequence[int]) -> int:
    """The size of the first axis, which fillers take for the number of outputs."""
    if not shape:
        raise ShapeError("axis 0 out of range for 0-D Blob with shape (1)")
    return shape[0]


def sigma(shape: Sequence[int], p: FillerParameter) -> np.float32:
    """The std of an msra filler, 2 / ((1 + a²) n) (He et al. 2015, eq. 15); Caffe's has a = 0."""
    slope = np.float32(p.a)
    with np.errstate(over="ignore"):  # a std of 0 is refused where it is used
        share: np.float32 = (np.float32(1) + slope * slope) * fan(shape, p.variance_norm)
    return np.float32(np.sqrt(np.float32(2) / share))


@filler
def constant(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """`value` everywhere."""
    return np.full(math.prod(shape), p.value, np.float32)


@filler
def uniform(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """U(min, max)."""
    return rng.uniform(p.min, p.max, math.prod(shape))


@filler
def gaussian(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """N(mean, std²); with `sparse`, that many inputs of each output on average, the others 0."""
    most = outputs(shape) if p.sparse != -1 else 0
    if not -1 <= p.sparse <= most:
        raise ShapeError(f"filler 'gaussian': sparse {p.sparse} is not within {most} outputs")
    data = rng.normal(p.mean, p.std, math.prod(shape))
    if p.sparse == -1:
        return data
    kept = float(np.float32(p.sparse) / np.float32(most))
    for start in range(0, data.size, _MASKED):
        part = data[start : start + _MASKED]
        part *= rng.bernoulli(kept, part.size)  # what is dropped keeps its sign: 0 or -0
    return data


@filler
def positive_unitball(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """U(0, 1), divided so that the values of each output sum to 1, added one after another."""
    rows = rng.uniform(0, 1, math.prod(shape)).reshape(outputs(shape), -1)
    step = max(1, _MASKED // rows.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN in Caffe too
            part /= np.add.accumulate(part, axis=1)[:, -1:]
    return rows


@filler
def xavier(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """U(-s, s), s = √(3 / n) (Glorot and Bengio 2010)."""
    scale = float(np.sqrt(np.float32(3) / fan(shape, p.variance_norm)))
    return rng.uniform(-scale, scale, math.prod(shape))


@filler
def msra(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """N(0, 2 / ((1 + a²) n)) (He et al. 2015, eq. 15)."""
    return rng.normal(0, float(sigma(shape, p)), math.prod(shape))


@filler
def bilinear(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """The kernel of bilinear interpolation in every square of a 4-D blob, for Deconvolution."""
    if len(shape) != 4:
        raise ShapeError(f"num_axes() == 4 ({len(shape)} vs. 4): Blob must be 4 dim.")
    height, width = shape[2:]
    if width != height:
        raise ShapeError(f"width() == height() ({width} vs. {height}): Filter must be square")
    factor = math.ceil(width / 2)
    center = np.float32((width - 1) / (2 * factor))
    line = 1 - np.abs(np.arange(width, dtype=np.float32) / np.float32(factor) - center)
    data = np.empty(shape, np.float32)
    data[...] = line * line[:, None]
    return data
