"""The state that pycaffe keeps for the whole process: the device, the random stream, the log."""

from __future__ import annotations

import logging
import secrets
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .. import caffe_pb2
from ..errors import UnsupportedError
from ..fillers.rng import BoostRng, Rng
from .blob import Changes

TRAIN, TEST = int(caffe_pb2.TRAIN), int(caffe_pb2.TEST)

_log = logging.getLogger("caffe_compat.pycaffe")


class _State:
    """The process' state; Caffe keeps one a thread, and pycaffe uses one thread."""

    gpu = False
    device = 0
    seeded = False
    rng: Rng | None = None
    fork: str | None = None
    level = 0  # of the log: 0 info, 1 warning, 2 error
    root = True  # False while a Python layer's net is quiet


def set_mode_cpu() -> None:
    """Run nets on the CPU, which is the default."""
    _State.gpu = False
    Changes.count += 1


def set_mode_gpu() -> None:
    """Run nets on the GPU where there is one, or else say so once and stay on the CPU."""
    from .device import has_gpu

    _State.gpu = has_gpu(_State.device)
    Changes.count += 1
    if not _State.gpu:
        _warn_once("set_mode_gpu(): no GPU that onnxruntime can use; running on the CPU")


def set_device(device: int) -> None:
    """Choose the GPU by number; without effect on the CPU."""
    _State.device = int(device)
    if _State.gpu:
        set_mode_gpu()


def device() -> str | None:
    """Return the GPU that nets run on, `cuda:0` or another; None on the CPU."""
    return f"cuda:{_State.device}" if _State.gpu else None


def set_random_seed(seed: int) -> None:
    """Start the random stream of fillers and layers anew: Caffe's own for that seed."""
    _State.rng, _State.seeded = BoostRng(seed % 2**32), True


def rng() -> Rng:
    """Return the random stream; from an arbitrary seed until `set_random_seed` is called."""
    if _State.rng is None:
        _State.rng = BoostRng(secrets.randbits(32))
    return _State.rng


def seeded() -> bool:
    """Return whether the random stream was seeded, so that every draw has its place in it."""
    return _State.seeded


def use_fork(name: str | None) -> None:
    """Say whose layers those are that forks of Caffe define differently under one name.

    Args:
        name: as `caffe_compat.load(fork=...)` takes it; None: told from the net itself.
    """
    _State.fork = name


def fork() -> str | None:
    """Return the fork that `use_fork` named."""
    return _State.fork


# -- several processes -----------------------------------------------------------------------


def solver_count() -> int:
    """Return 1: one process trains."""
    return 1


def set_solver_count(count: int) -> None:
    """Accept 1.

    Raises:
        UnsupportedError: more are asked for.
    """
    if count != 1:
        raise UnsupportedError(
            f"set_solver_count({count}): one solver runs here; several processes train with "
            "caffe_compat.converters train and torchrun"
        )


def solver_rank() -> int:
    """Return 0: this process is the only one."""
    return 0


def set_solver_rank(rank: int) -> None:
    """Accept 0.

    Raises:
        UnsupportedError: another rank is asked for.
    """
    if rank != 0:
        raise UnsupportedError(f"set_solver_rank({rank}): one solver runs here, of rank 0")


def set_multiprocess(multiprocess: bool) -> None:
    """Accept False.

    Raises:
        UnsupportedError: several processes are asked for.
    """
    if multiprocess:
        raise UnsupportedError("set_multiprocess(True): one solver runs here")


def has_nccl() -> bool:
    """Return False."""
    return False


class NCCL:
    """GPUs that train together, which is refused.

    Raises:
        UnsupportedError: always.
    """

    def __init__(self, solver: object, uid: str) -> None:
        raise UnsupportedError("NCCL: one solver runs here; caffe.has_nccl() is False")


# -- the log ---------------------------------------------------------------------------------


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Set the least level that `log` writes: 0 info, 1 warning, 2 error."""
    _State.level = int(level)


def log(text: str) -> None:
    """Write a line to standard error, as glog writes it."""
    if logs():
        now = time.time()
        stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now))
        print(f"I{stamp}.{int(now % 1 * 1e6):06d} caffe] {text}", file=sys.stderr)  # noqa: T201


def logs() -> bool:
    """Return whether lines of the level INFO are written."""
    return _State.level <= 0


def debug(text: str, *values: object) -> None:
    """Log what pycaffe's glog would say at INFO, where logging is set up to show it."""
    _log.info(text, *values)


_said: set[str] = set()


def _warn_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        warnings.warn(text, RuntimeWarning, stacklevel=3)


@contextmanager
def stream(own: Rng) -> Iterator[None]:
    """Draw from another stream for a while."""
    before, seeded_before = _State.rng, _State.seeded
    _State.rng, _State.seeded = own, True
    try:
        yield
    finally:
        _State.rng, _State.seeded = before, seeded_before


class Timer:
    """A stopwatch: start, stop, and `ms` between them."""

    def __init__(self) -> None:
        self._start = self._stop = 0.0

    def start(self) -> None:
        """Start."""
        self._start = self._stop = time.perf_counter()

    def stop(self) -> None:
        """Stop."""
        self._stop = time.perf_counter()

    @property
    def ms(self) -> float:
        """Milliseconds from start to stop."""
        return (self._stop - self._start) * 1000
