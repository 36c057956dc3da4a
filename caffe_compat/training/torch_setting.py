"""How torch runs a net: where, how exactly, and with which random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Setting:
    """How torch runs a net.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        amp: the type of what layers compute in, `bf16`; None: float32.
        tf32: whether a GPU may round the factors of a product to 10 bits.
        draws: whether Dropout draws on the device, from torch's own generators.
    """

    device: str = "cpu"
    amp: str | None = None
    tf32: bool = False
    draws: bool = False

    @property
    def place(self) -> torch.device:
        """The device, as torch names it."""
        return torch.device(self.device)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Compute as the setting says while the block runs."""
        with contextlib.ExitStack() as stack:
            if self.amp:
                stack.enter_context(torch.autocast(self.place.type, torch.bfloat16))
            if self.place.type == "cuda":
                flags = torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=self.tf32
                )
                stack.enter_context(flags)
                before = torch.get_float32_matmul_precision()
                stack.callback(torch.set_float32_matmul_precision, before)
                torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
            yield

    def stream(self) -> Tensor:
        """Return the state of the device's generator."""
        cuda = self.place.type == "cuda"
        return torch.cuda.get_rng_state(self.place) if cuda else torch.get_rng_state()

    def set_stream(self, state: Tensor) -> None:
        """Go to a state of the device's generator."""
        if self.place.type == "cuda":
            torch.cuda.set_rng_state(state, self.place)
        else:
            torch.set_rng_state(state)
