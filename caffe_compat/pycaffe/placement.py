"""The devices on which blobs have memory beside the machine's."""

from __future__ import annotations

import functools
import importlib.util

from . import mode


def place() -> str | None:
    """Return PyTorch's name of the GPU on which blobs have memory; None where they have none."""
    device = mode.device()
    return device if device is not None and _torch_has(device) else None


@functools.cache
def _torch_has(device: str) -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.device(device).type == "cpu" or torch.cuda.is_available()


def synchronize(device: str) -> None:
    """Wait until PyTorch has done what it was told to do on a device."""
    import torch

    if torch.device(device).type != "cpu":
        torch.cuda.synchronize(device)
