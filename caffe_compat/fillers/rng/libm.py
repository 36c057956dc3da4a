"""float32 exp, log, sin and cos of glibc's libm since 2.28, to the last bit.

Boost's distributions call these, and about one value in a hundred differs from the rounded float64
result. They are short polynomials in float64, which numpy computes alike everywhere; its own
float32 functions differ by vector unit.

Source: the coefficients and reductions of ARM's optimized-routines (math/expf.c, logf.c, sinf.c),
checked against glibc over whole ranges of arguments.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def _hex(text: str) -> list[float]:
    return [float.fromhex(number) for number in text.split()]


_LN2 = _hex("0x1.62e42fefa39efp-1")[0]
_LOG = _hex("-0x1.00ea348b88334p-2 0x1.5575b0be00b6ap-2 -0x1.ffffef20a4123p-2")
_LOG_LOWEST = np.uint32(0x3F330000)  # the bits of 0.69921875, the start of the 16 intervals
_LOG_INVERSE = np.array(
    _hex(
        "0x1.661ec79f8f3bep+0 0x1.571ed4aaf883dp+0 0x1.49539f0f010bp+0 0x1.3c995b0b80385p+0 "
        "0x1.30d190c8864a5p+0 0x1.25e227b0b8eap+0 0x1.1bb4a4a1a343fp+0 0x1.12358f08ae5bap+0 "
        "0x1.0953f419900a7p+0 0x1p+0 0x1.e608cfd9a47acp-1 0x1.ca4b31f026aap-1 "
        "0x1.b2036576afce6p-1 0x1.9c2d163a1aa2dp-1 0x1.886e6037841edp-1 0x1.767dcf5534862p-1"
    )
)
_LOG_TABLE = np.array(
    _hex(
        "-0x1.57bf7808caadep-2 -0x1.2bef0a7c06ddbp-2 -0x1.01eae7f513a67p-2 -0x1.b31d8a68224e9p-3 "
        "-0x1.6574f0ac07758p-3 -0x1.1aa2bc79c81p-3 -0x1.a4e76ce8c0e5ep-4 -0x1.1973c5a611cccp-4 "
        "-0x1.252f438e10c1ep-5 0x0p+0 0x1.aa5aa5df25984p-5 0x1.c5e53aa362eb4p-4 "
        "0x1.526e57720db08p-3 0x1.bc2860d224770p-3 0x1.1058bc8a07ee1p-2 0x1.4043057b6ee09p-2"
    )
)
_EXP = _hex("0x1.c6af84b912394p-20 0x1.ebfce50fac4f3p-13 0x1.62e42ff0c52d6p-6")
_PER_LN2 = _hex("0x1.71547652b82fep+5")[0]  # 32 / ln 2
_SIN = _hex("-0x1.555545995a603p-3 0x1.1107605230bc4p-7 -0x1.994eb3774cf24p-13")
_COS = _hex(
    "-0x1.ffffffd0c621cp-2 0x1.55553e1068f19p-5 -0x1.6c087e89a359dp-10 0x1.99343027bf8c3p-16"
)
_PER_HALF_PI = _hex("0x1.45f306dc9c883p+23")[0]  # 2**24 * 2 / pi
_HALF_PI = _hex("0x1.921fb54442d18p+0")[0]


def log(x: Floats) -> Floats:
    """Compute the logarithm of positive normal numbers."""
    bits = x.view(np.uint32)
    offset = bits - _LOG_LOWEST
    interval = ((offset >> 19) & 15).astype(np.intp)
    exponent = offset.view(np.int32) >> 23
    z = (bits - (offset & np.uint32(0xFF800000))).view(np.float32).astype(np.float64)
    r = z * _LOG_INVERSE.take(interval) - 1
    r2 = r * r
    y = _LOG[0] * r2 + (_LOG[1] * r + _LOG[2])
    value: Floats = (y * r2 + (_LOG_TABLE.take(interval) + exponent * _LN2 + r)).astype(np.float32)
    return value


def exp(x: Floats) -> Floats:
    """Compute the exponential, for results that are normal numbers."""
    z = x.astype(np.float64) * _PER_LN2
    k = np.rint(z)
    r = z - k
    y = (_EXP[0] * r + _EXP[1]) * (r * r) + (_EXP[2] * r + 1)
    value: Floats = (y * np.exp2(k / 32)).astype(np.float32)
    return value


def cos_sin(x: Floats) -> tuple[Floats, Floats]:
    """Compute the cosine and the sine, for 0 <= x < 120."""
    wide = x.astype(np.float64)
    quarter = ((wide * _PER_HALF_PI).astype(np.int32) + 0x800000) >> 24
    wide -= quarter * _HALF_PI
    x2 = wide * wide
    x3, x4 = wide * x2, x2 * x2
    sin = wide + x3 * _SIN[0] + (x3 * x2) * (_SIN[1] + x2 * _SIN[2])
    cos = 1 + x2 * _COS[0] + x4 * _COS[1] + (x4 * x2) * (_COS[2] + x2 * _COS[3])
    odd, negative = quarter & 1 == 1, quarter & 2 == 2
    c, s = np.where(odd, -sin, cos), np.where(odd, cos, sin)
    np.negative(c, out=c, where=negative)
    np.negative(s, out=s, where=negative)
    return c.astype(np.float32), s.astype(np.float32)
