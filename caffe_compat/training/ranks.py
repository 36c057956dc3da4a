"""Several processes that train one net, each on batches of its own (parallel.cpp)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import DeviceError, ShapeError
from .feeding import Batches, Feeds

_BUCKET = 1 << 24  # numbers that travel together


class Ranks:
    """The processes of a training, and which of them this one is; by default the only one.

    Args:
        rank: the number of this process, from 0 on.
        size: their number.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def current(cls) -> Ranks:
        """Return the processes of torch.distributed, if it was initialized here."""
        distributed: Any = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_available():
            return cls()
        if not distributed.is_initialized():
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def average(self, arrays: Sequence[Any]) -> None:
        """Replace arrays by their mean over all processes: their sum divided by the number."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        for bucket in _buckets([torch.as_tensor(array) for array in arrays]):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            distributed.all_reduce(flat)
            flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def broadcast(self, arrays: Sequence[Any]) -> None:
        """Copy arrays from the first process to all others."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        for array in arrays:
            distributed.broadcast(torch.as_tensor(array), 0)

    def largest(self, number: int) -> int:
        """Return the largest of the numbers that the processes give."""
        numbers: list[int] = self.gather(number)
        return max(numbers)

    def gather(self, value: Any) -> list[Any]:
        """Return the values that the processes give, by rank."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, while the block runs; alone, do nothing.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Yields:
        The processes.

    Raises:
        DeviceError: PyTorch is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    try:
        import torch
        from torch import distributed
    except ImportError:
        raise DeviceError(
            "several processes need PyTorch: python -m pip install 'caffe_compat[torch]'"
        ) from None
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group()
    else:
        distributed.init_process_group("gloo")
    try:
        yield Ranks.current()
    finally:
        distributed.destroy_process_group()


class Share(Batches):
    """A process's share of the batches: with n processes every n-th (data_layer.cpp, Skip).

    After each pass all processes are at the same place of the source. A source that takes every
    n-th record itself, `data.batches(net, rank=..., ranks=n)`, is not shared out again.

    Args:
        source: as for `Batches`.
        what: likewise.
        ranks: the processes.

    Raises:
        ShapeError: the source is shared out among another number of processes, or for another one.
    """

    def __init__(self, source: Iterable[Feeds], what: str, ranks: Ranks) -> None:
        super().__init__(source, what)
        own = ranks.rank, ranks.size
        taken = getattr(source, "share", (0, 1))
        if taken[1] != 1 and taken != own:
            raise ShapeError(
                f"{what} is read as rank {taken[0]} of {taken[1]}, and this process is {own[0]} of "
                f"{own[1]}"
            )
        self._rank, self._size = (0, 1) if taken == own else own

    def next(self) -> Feeds:
        """Return the next batch of this process."""
        self.skip(self._rank)
        batch = super().next()
        self.skip(self._size - 1 - self._rank)
        return batch


def _buckets(tensors: Sequence[Any]) -> Iterable[list[Any]]:
    """Yield the tensors in groups of at most so many numbers, or one."""
    group: list[Any] = []
    for tensor in tensors:
        if group and sum(each.numel() for each in group) + tensor.numel() > _BUCKET:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group
