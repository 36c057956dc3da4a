"""Arguments and names that numpy had in the years of Caffe's scripts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any


def add(module: Any, **names: Any) -> None:
    """Add the names that a module has not."""
    for name, value in names.items():
        if name not in vars(module):
            setattr(module, name, value)


def restore(np: Any) -> None:
    """Restore aliases of Python's types (gone in 1.24), and the names that numpy 2 dropped."""
    add(np, float=float, int=int, object=object, str=str, long=int, complex=complex, unicode=str)
    add(np, bool=bool, float_=np.float64, complex_=np.complex128, int0=np.intp, uint0=np.uintp)
    add(np, string_=np.bytes_, unicode_=np.str_, Inf=np.inf, Infinity=np.inf, infty=np.inf)
    add(np, NaN=np.nan, NAN=np.nan, PINF=np.inf, NINF=-np.inf, cast=_Cast(np))
    add(np, product=np.prod, cumproduct=np.cumprod, sometrue=np.any, alltrue=np.all)
    add(np, row_stack=np.vstack, round_=np.round, asscalar=lambda a: a.item())
    add(np, in1d=lambda a, b, **options: np.isin(a, b, **options).ravel())
    add(np, asfarray=lambda a, dtype=np.float64: np.asarray(a, dtype))
    add(np, trapz=getattr(np, "trapezoid", None), mat=getattr(np, "asmatrix", None))
    for name in ("zeros", "ones", "empty", "full", "linspace"):
        setattr(np, name, _with_whole_sizes(getattr(np, name)))
    for name in ("array", "asarray", "asanyarray"):
        setattr(np, name, _with_ragged_rows(getattr(np, name)))
    plain = np.fromstring

    def fromstring(string: Any, dtype: Any = float, count: int = -1, *, sep: str = "") -> Any:
        """Do as numpy's; without `sep` read the bytes of an array, which numpy 2.3 refuses."""
        if sep:
            return plain(string, dtype, count, sep=sep)
        data = string.encode("latin-1") if isinstance(string, str) else string
        return np.frombuffer(data, dtype, count).copy()

    np.fromstring = fromstring
    plain_loadtxt = np.loadtxt

    def loadtxt(fname: Any, dtype: Any = float, *args: Any, **options: Any) -> Any:
        """Do as numpy's; take a delimiter at the line's end, which 1.23 refuses."""
        if options.get("delimiter") == "\n":
            options["delimiter"] = "\0"
        return plain_loadtxt(fname, dtype, *args, **options)

    np.loadtxt = loadtxt
    plain_options = np.set_printoptions

    def set_printoptions(precision: Any = None, threshold: Any = None, **options: Any) -> None:
        """Do as numpy's; take a threshold of NaN, for everything, refused since 1.14."""
        if threshold == "nan" or threshold != threshold:
            threshold = sys.maxsize
        plain_options(precision, threshold, **options)

    np.set_printoptions = set_printoptions


def restore_random(module: Any) -> None:
    """Let numpy's random functions take sizes that are floats."""
    for name in ("choice", "normal", "permutation", "rand", "randint", "randn", "uniform"):
        setattr(module, name, _with_whole_sizes(getattr(module, name)))


def _with_whole_sizes(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as until numpy 1.12: a float is a size too."""

    @functools.wraps(plain)
    def lenient(*args: Any, **options: Any) -> Any:
        try:
            return plain(*args, **options)
        except TypeError:
            whole = {key: _whole(option) for key, option in options.items()}
            return plain(*map(_whole, args), **whole)

    return lenient


def _whole(size: Any) -> Any:
    if isinstance(size, tuple | list):
        return type(size)(map(_whole, size))
    is_float = hasattr(size, "is_integer") and not isinstance(size, int)
    return int(size) if is_float and size.is_integer() else size


def _with_ragged_rows(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as until numpy 1.24: rows of unlike lengths are an array of objects."""

    @functools.wraps(plain)
    def lenient(*args: Any, **options: Any) -> Any:
        try:
            return plain(*args, **options)
        except ValueError as error:
            if "inhomogeneous" not in str(error) or len(args) > 1 or "dtype" in options:
                raise
            return plain(*args, dtype=object, **options)

    return lenient


class _Cast:
    """`np.cast[dtype](x)`."""

    def __init__(self, np: Any) -> None:
        self._np = np

    def __getitem__(self, dtype: Any) -> Callable[[Any], Any]:
        return lambda x: self._np.asarray(x).astype(dtype)
