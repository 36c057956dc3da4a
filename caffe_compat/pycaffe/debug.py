"""The log of a live net with `debug_info: true`: mean magnitudes, layer by layer (net.cpp)."""

from __future__ import annotations

from collections.abc import Callable

from ..training.debug import mean
from .wiring import Wiring


class DebugLog:
    """Logs each layer that has run.

    Args:
        parts: the net.
        write: takes each line.
    """

    def __init__(self, parts: Wiring, write: Callable[[str], None]) -> None:
        self._parts, self._write = parts, write

    def forward(self, index: int) -> None:
        """Log a layer's tops and parameters."""
        step, names = self._parts.steps[index], self._parts.blob_names
        layer = f"    [Forward] Layer {step.proto.name}"
        for top, i in zip(step.tops, self._parts.top_ids[index], strict=True):
            self._write(f"{layer}, top blob {names[i]} data: {mean(top.data):g}")
        for i, blob in enumerate(step.blobs):
            spec = step.proto.param[i].name if i < len(step.proto.param) else ""
            self._write(f"{layer}, param blob {spec or i} data: {mean(blob.data):g}")

    def backward(self, index: int) -> None:
        """Log the gradients that a layer has computed."""
        step, names = self._parts.steps[index], self._parts.blob_names
        layer = f"    [Backward] Layer {step.proto.name}"
        for bottom, i, wanted in zip(
            step.bottoms, self._parts.bottom_ids[index], step.propagate, strict=True
        ):
            if wanted:
                self._write(f"{layer}, bottom blob {names[i]} diff: {mean(bottom.diff):g}")
        for i, (blob, wanted) in enumerate(zip(step.blobs, step.param_propagate, strict=False)):
            if wanted:
                self._write(f"{layer}, param blob {i} diff: {mean(blob.diff):g}")
