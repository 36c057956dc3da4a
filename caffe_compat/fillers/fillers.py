"""Caffe's fillers: the values of a parameter blob before training, to the last bit.

float32 throughout, in Caffe's order of operations (caffe/include/caffe/filler.hpp). He et al. 2015
is "Delving Deep into Rectifiers"; `p` is a FillerParameter, `rng` the source of random numbers.
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

_FORK = "only a fork of Caffe has it, and its values are not recorded anywhere"
FORKS = {
    "file": "only a fork of Caffe has it; it reads a file that the prototxt names",
    "gabor": _FORK,
    "gaussian_unitball": _FORK,
    "xiangyu": _FORK,
}
"""The forks' fillers that are refused by name, with the reason."""

_MASKED = 1 << 20  # number of a sparse gaussian's values that are masked at once


def filler(function: Filler) -> Filler:
    """Register a filler under its name."""
    FILLERS[function.__name__] = function
    return function


def fill(shape: Sequence[int], p: FillerParameter | None, rng: Rng) -> Floats:
    """Return a new blob of this shape, filled.

    Args:
        shape: the blob's.
        p: the filler; None fills with zeros.
        rng: the source of random numbers.

    Raises:
        ShapeError: parameters contradict each other or the shape, where Caffe's CHECKs would
            abort; or they are NaN or infinite.
        UnsupportedError: BVLC Caffe has no such filler.
    """
    if p is None:
        return np.zeros(shape, np.float32)
    check(shape, p)
    return FILLERS[p.type](shape, p, rng).reshape(shape)


def check(shape: Sequence[int], p: FillerParameter) -> None:
    """Raise the errors of `fill` without filling, except those that only a draw can find."""
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
    """Return n of xavier and msra, the number of connections that share a blob's variance.

    The first axis counts as the outputs and the second as the inputs, whatever the layer uses
    them for; integer division; all values of a 1-D blob count as outputs.

    Args:
        shape: the blob's, of any rank above 0.
        variance_norm: FillerParameter's FAN_IN, FAN_OUT, or AVERAGE of both.

    Raises:
        ShapeError: the blob is 0-D.
    """
    fan_in, fan_out = fans(shape)
    if variance_norm == FillerParameter.AVERAGE:
        return np.float32(fan_in + fan_out) / np.float32(2)
    return np.float32(fan_out if variance_norm == FillerParameter.FAN_OUT else fan_in)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return the counts of FAN_IN and FAN_OUT for a blob of this shape.

    Raises:
        ShapeError: the blob is 0-D.
    """
    count = math.prod(shape)
    return count // outputs(shape), count // shape[1] if len(shape) > 1 else count


def outputs(shape: Sequence[int]) -> int:
    """Return the size of the first axis, which fillers regard as the number of outputs.

    Raises:
        ShapeError: the blob is 0-D.
    """
    if not shape:
        raise ShapeError("axis 0 out of range for 0-D Blob with shape (1)")
    return shape[0]


def sigma(shape: Sequence[int], p: FillerParameter) -> np.float32:
    """Return msra's std, √(2 / ((1 + a²) n)) (He et al. 2015, eq. 15); Caffe's has a = 0."""
    slope = np.float32(p.a)
    with np.errstate(over="ignore"):  # a std of 0 is refused where it is used
        share: np.float32 = (np.float32(1) + slope * slope) * fan(shape, p.variance_norm)
    return np.float32(np.sqrt(np.float32(2) / share))


@filler
def constant(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Fill with `value`."""
    return np.full(math.prod(shape), p.value, np.float32)


@filler
def uniform(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Draw from U(min, max)."""
    return rng.uniform(p.min, p.max, math.prod(shape))


@filler
def gaussian(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Draw from N(mean, std²); with `sparse`, only so many inputs per output on average, else 0."""
    limit = outputs(shape) if p.sparse != -1 else 0
    if not -1 <= p.sparse <= limit:
        raise ShapeError(f"filler 'gaussian': sparse {p.sparse} is not within {limit} outputs")
    data = rng.normal(p.mean, p.std, math.prod(shape))
    if p.sparse == -1:
        return data
    share = float(np.float32(p.sparse) / np.float32(limit))
    for start in range(0, data.size, _MASKED):
        part = data[start : start + _MASKED]
        part *= rng.bernoulli(share, part.size)  # a zero keeps the sign: 0 or -0
    return data


@filler
def positive_unitball(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Draw from U(0, 1), and divide each output's values by their sum, added in order."""
    rows = rng.uniform(0, 1, math.prod(shape)).reshape(outputs(shape), -1)
    step = max(1, _MASKED // rows.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN in Caffe too
            part /= np.add.accumulate(part, axis=1)[:, -1:]
    return rows


@filler
def xavier(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Draw from U(-s, s), s = √(3 / n) (Glorot and Bengio 2010)."""
    scale = float(np.sqrt(np.float32(3) / fan(shape, p.variance_norm)))
    return rng.uniform(-scale, scale, math.prod(shape))


@filler
def msra(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Draw from N(0, 2 / ((1 + a²) n)) (He et al. 2015, eq. 15)."""
    return rng.normal(0, float(sigma(shape, p)), math.prod(shape))


@filler
def diagonal(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Fill input n of output n with diag_val n, or 1, divided by the kernel's size (flownet2's)."""
    inputs = shape[1] if len(shape) > 1 else 1
    data = np.zeros((outputs(shape), inputs, math.prod(shape[2:])), np.float32)
    for n in range(min(data.shape[:2])):
        value = p.diag_val[n] if n < len(p.diag_val) else 1
        data[n, n] = np.float32(value) / np.float32(data.shape[2])
    return data


@filler
def bilinear(shape: Sequence[int], p: FillerParameter, rng: Rng) -> Floats:
    """Fill every square of a 4-D blob with a bilinear kernel, for upsampling by Deconvolution."""
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
