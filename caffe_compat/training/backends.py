"""Which engine trains, and on which device."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from typing import TypeAlias

from ..caffe_pb2 import SolverParameter
from ..errors import CaffeCompatError, DeviceError
from ..net.net import Net
from .engine import Engine
from .feeding import Feeder
from .numpy_engine import NumpyEngine

_notes = logging.getLogger("caffe_compat")

Make: TypeAlias = Callable[[Net, Feeder], Engine]
"""Returns the engine of a net that is fed so."""


def choose(
    p: SolverParameter,
    engine: str = "auto",
    device: str = "auto",
    *,
    amp: str | None = None,
    tf32: bool = False,
    seed: int | None = None,
) -> tuple[Make, str]:
    """Return what makes the engines of a solver's nets, and the device that they run on.

    Args:
        p: the solver's parameters; solver_mode and device_id name the device where `device` does
            not.
        engine: `auto` (torch where it is installed), `torch` or `numpy`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: `bf16`, or None for float32.
        tf32: whether a GPU may round the factors of a product to 10 bits.
        seed: of torch's generators, where Dropout draws from them, on the device; None: from
            Caffe's stream.

    Raises:
        CaffeCompatError: a name is not known, or two contradict each other.
        DeviceError: the device is not there, or PyTorch is not installed.
    """
    where = place(p, engine, device)
    if amp not in (None, "bf16"):
        raise CaffeCompatError(f"amp is {amp!r}; it is 'bf16' or None")
    if not _by_torch(engine):
        if amp:
            raise DeviceError(f"amp {amp} needs the torch engine{_install()}")
        return NumpyEngine, where
    import torch

    from .torch_engine import TorchEngine
    from .torch_setting import Setting

    if seed is not None:
        torch.manual_seed(seed)
    setting = Setting(where, amp, tf32, draws=seed is not None)
    return lambda net, feeder: TorchEngine(net, feeder, setting), where


def place(p: SolverParameter, engine: str = "auto", device: str = "auto") -> str:
    """Return the device that a solver trains on, `cpu` or `cuda:N`; the arguments are `choose`'s.

    Raises:
        CaffeCompatError: a name is not known.
        DeviceError: the device is not there, or PyTorch is not installed.
    """
    if engine not in ("auto", "torch", "numpy"):
        raise CaffeCompatError(f"engine is {engine!r}; it is 'auto', 'torch' or 'numpy'")
    kind, colon, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and not (kind == "cuda" and _digits(number))):
        raise CaffeCompatError(f"device is {device!r}; it is 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if engine == "torch" and not _installed():
        raise DeviceError(f"engine torch needs PyTorch{_install()}")
    if _by_torch(engine):
        return _device(p, device)
    if kind == "cuda":
        raise DeviceError(f"device {device} needs the torch engine{_install()}")
    if _names_gpu(p) and kind == "auto":
        _notes.warning("solver_mode is GPU; the numpy engine trains on the CPU")
    return "cpu"


def _by_torch(engine: str) -> bool:
    return engine == "torch" or (engine == "auto" and _installed())


def _installed() -> bool:
    return importlib.util.find_spec("torch") is not None


def _install() -> str:
    return "" if _installed() else ": python -m pip install 'caffe_compat[torch]'"


def _digits(number: str) -> bool:
    return number.isascii() and number.isdigit()


def _names_gpu(p: SolverParameter) -> bool:
    return p.HasField("solver_mode") and p.solver_mode == SolverParameter.GPU


def _device(p: SolverParameter, device: str) -> str:
    """Return the device, `cpu` or `cuda:N`; a process of torchrun takes the GPU of its number."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    local = os.environ.get("LOCAL_RANK")
    if device == "cpu":
        return "cpu"
    if device == "auto":
        if p.HasField("solver_mode") and p.solver_mode == SolverParameter.CPU:
            return "cpu"
        if not count:
            if _names_gpu(p):
                _notes.warning("solver_mode is GPU, and there is none; trains on the CPU")
            return "cpu"
        number = p.device_id if local is None else int(local)
    else:
        number = int(device.partition(":")[2] or local or 0)
    if number >= count:
        raise DeviceError(f"device cuda:{number}: this machine has {count} GPUs")
    return f"cuda:{number}"
