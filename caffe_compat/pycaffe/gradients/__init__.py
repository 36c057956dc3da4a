"""Backward passes of the layers that take the time, on the blobs' own memory.

Each reads data and gradients where they lie and writes where they belong, as they stand when
backward runs; no tape of the forward pass is kept. A function returns whether it has computed the
layer; where it has not, `Computed.backward` does. Layers that are not here are small. Almost all is
PyTorch's, in the machine's memory or on a GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from ..blob import memories
from ..placement import place
from ..steps import Computed
from . import activation, convolution, dense, moves, norm, pooling
from .tensors import exact

_LAYERS: dict[str, Callable[[Computed], bool]] = {
    "BatchNorm": norm.batch_norm,
    "Concat": moves.concat,
    "Convolution": convolution.convolution,
    "Deconvolution": convolution.convolution,
    "Eltwise": moves.eltwise,
    "InnerProduct": dense.inner_product,
    "LRN": norm.lrn,
    "Pooling": pooling.pooling,
    "ReLU": activation.relu,
    "Scale": norm.scale,
    "Split": moves.split,
}
_IN_PLACE = {"BatchNorm", "ReLU", "Scale"}  # whose functions may write over what they read


def available() -> bool:
    """Return whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def backward(step: Computed, *, by_torch: bool) -> bool:
    """Run a layer backward, by PyTorch or by numpy; return whether it was done."""
    kind = step.proto.type
    if step.in_place and kind not in _IN_PLACE:
        return False
    if not by_torch:
        return kind == "InnerProduct" and dense.by_blocks(step)
    run = _LAYERS.get(kind)
    if run is None or (len(step.tops) != 1 and kind != "Split"):
        return False
    with exact():
        done = run(step)
    if done and place() is not None:
        _note_written(step)
    return done


def _note_written(step: Computed) -> None:
    """Note which gradients a layer has computed on the GPU."""
    for blobs, wanted in (
        (step.bottoms, step.propagate),
        (step.blobs, step.param_propagate),
    ):
        for blob, written in zip(blobs, wanted, strict=False):
            if written:
                memories(blob)[1].mark_written()
