"""Second moments of a filler's values, and of an activation's output for a normal input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..caffe_pb2 import FillerParameter
from .fillers import check, fan, fill, outputs, sigma
from .rng import BoostRng

_FAR = 12  # beyond 12 std a normal density adds less than float64 resolves
_NODES, _SHARES = np.polynomial.legendre.leggauss(24)


def of_activation(
    f: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.floating]], kinks: Iterable[float] = (0,)
) -> float:
    """Return E[f(z)²] for z ~ N(0, 1), by quadrature to about the precision of `f` itself.

    Gauss-Legendre between the kinks, since Gauss-Hermite, over all of the line at once, converges
    slowly across one.

    Args:
        f: the activation, elementwise on a 1-D array.
        kinks: the points where its slope jumps.
    """
    near = {float(kink) for kink in kinks if abs(kink) < _FAR}
    ends = np.array(sorted(near | {float(n) for n in range(-_FAR, _FAR + 1)}))
    half = np.diff(ends)[:, None] / 2
    z = (ends[:-1, None] + half + half * _NODES).ravel()
    density = (half * _SHARES).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return float(np.sum(density * np.square(f(z), dtype=np.float64)))


def second_moment(shape: Sequence[int], p: FillerParameter | None) -> float | None:
    """Return E[w²] of a filler's values; None if there is no closed form.

    Args:
        shape: the blob's.
        p: the filler; None is zeros.

    Raises:
        CaffeCompatError: the filler would refuse the shape or its parameters.
    """
    if p is None:
        return 0.0
    check(shape, p)
    if p.type == "constant":
        return p.value**2
    if p.type == "uniform":
        return (p.min**2 + p.min * p.max + p.max**2) / 3
    if p.type == "gaussian":
        share = 1.0 if p.sparse == -1 else p.sparse / outputs(shape)
        return share * (p.mean**2 + p.std**2)
    if p.type == "xavier":
        return 1 / float(fan(shape, p.variance_norm))
    if p.type == "msra":
        return float(sigma(shape, p)) ** 2
    if p.type == "bilinear":
        kernel = fill(shape, p, BoostRng(0))  # nothing is drawn
        return float(np.mean(np.square(kernel, dtype=np.float64)))
    # positive_unitball: a single value of an output is 1, several are uniforms over their sum.
    return 1.0 if math.prod(shape) == outputs(shape) else None
