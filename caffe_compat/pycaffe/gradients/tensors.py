"""Blobs as PyTorch's tensors: in their own memory, or on the GPU that nets run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..blob import Blob, memories, shape_of
from ..memory import Memory
from ..placement import place

_BLOCK = 1 << 18  # values of a product that is still in a CPU's cache when it is added


def data(blob: Blob) -> Any:
    """Return a blob's values."""
    return _tensor(blob, memories(blob)[0])


def diff(blob: Blob) -> Any:
    """Return the gradient at a blob; what is written into it is what others read."""
    return _tensor(blob, memories(blob)[1])


def _tensor(blob: Blob, memory: Memory) -> Any:
    import torch

    device = place()
    flat = torch.from_numpy(memory.array) if device is None else memory.tensor(device)
    return flat[: blob.count].view(shape_of(blob))


def add(blob: Blob, gradient: Any) -> None:
    """Add to the gradient at a blob."""
    target = diff(blob)
    target.add_(gradient.reshape(target.shape))


def add_product(blob: Blob, left: Any, right: Any) -> None:
    """Add the product of left^T and right to the gradient at a blob."""
    total, left = diff(blob), left.T
    if place() is not None:
        total.addmm_(left, right)
        return
    rows = max(1, _BLOCK // right.shape[1])
    for start in range(0, len(total), rows):
        total[start : start + rows] += left[start : start + rows] @ right


@contextmanager
def exact() -> Iterator[None]:
    """Compute in float32 as Caffe does, on a GPU too, and record nothing."""
    import torch

    with torch.no_grad():
        if place() is None:
            yield
            return
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                yield
        finally:
            torch.set_float32_matmul_precision(precision)
