"""Random numbers in training: torch's own, or those of Caffe's stream."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..fillers.rng import Rng
from ..layers.layer import Layer
from ..types import Array, Shape

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]


class TorchRng(Rng):
    """torch's generator for the CPU as a stream that layers draw from."""

    def __init__(self) -> None:
        super().__init__(0)

    def state(self) -> bytes:
        """Return the place in the stream, for `restore`."""
        return torch.get_rng_state().numpy().tobytes()

    def restore(self, state: bytes) -> None:
        """Go to a place in the stream."""
        torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))

    def u32(self, n: int) -> Words:
        """Return the next words."""
        return torch.randint(2**32, (n,)).numpy().astype(np.uint32)

    def _uniform(self, a: np.float32, b: np.float32, out: Floats) -> None:
        torch.from_numpy(out).uniform_(float(a), float(b))

    def _normal(self, mean: np.float32, std: np.float32, out: Floats) -> None:
        torch.from_numpy(out).normal_(float(mean), float(std))


class Drawing:
    """A module that draws random numbers in training.

    Attributes:
        stream: their source; None for torch's generator.
        numbers: those of the next pass, and the layer's state, in place of what it would draw;
            None where it draws itself.
    """

    stream: Rng | None = None
    numbers: Mapping[str, Array] | None = None

    def draw(self, layer: Layer, shapes: list[Shape], like: Tensor) -> dict[str, Tensor]:
        """Return a layer's numbers for one forward pass, in a tensor's dtype and on its device."""
        arrays = self.numbers
        if arrays is None:
            arrays = layer.draw(self.stream or TorchRng(), *shapes)
        return {name: torch.from_numpy(array).to(like) for name, array in arrays.items()}


def draw_from(module: nn.Module, stream: Rng | None) -> None:
    """Let all random numbers that a module draws in training come from a stream.

    They are drawn layer by layer in a forward pass, in Caffe's order, so that a `BoostRng` gives
    Caffe's own. None: from torch's generators, as at first.
    """
    for part in module.modules():
        if isinstance(part, Drawing):
            part.stream = stream
