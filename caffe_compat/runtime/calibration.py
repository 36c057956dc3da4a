"""The ranges of a model's tensors, measured by running it, for int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import onnx

from ..errors import ShapeError
from ..onnx.lowering import Lowered
from ..types import AnyArray
from .models import join
from .tools import quiet

Feeds: TypeAlias = Mapping[str, AnyArray]
"""An array for each input, by name."""

Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""The min and max of each tensor, by name."""


def calibrate(lowered: Lowered, feeds: Sequence[Feeds]) -> Ranges:
    """Run a float32 model and return the min and max of its tensors over all runs.

    Args:
        lowered: the model.
        feeds: the arrays of each run; a few dozen typical images do.

    Raises:
        ShapeError: there are no feeds.
        CaffeCompatError: onnxruntime cannot run the model on them.
    """
    if not feeds:
        raise ShapeError("feeds is empty; calibration needs at least one run")
    with quiet("calibrate the model"), TemporaryDirectory() as folder:
        from onnxruntime.quantization import create_calibrator

        path = Path(folder) / "model.onnx"
        onnx.save(join(lowered), path)
        calibrator = create_calibrator(
            path, operators(), augmented_model_path=str(path.with_name("augmented.onnx"))
        )
        calibrator.collect_data(_Reader(feeds))
        ranges = calibrator.compute_data()
        del calibrator  # Windows deletes no file that a session has open
    return {
        name: (float(data.lowest.item()), float(data.highest.item()))
        for name, data in ranges.items()
    }


def operators() -> list[str]:
    """Return the ONNX operators that onnxruntime quantizes."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


class _Reader:
    """The feeds one at a time, as onnxruntime's calibrator takes them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        feeds = next(self._left, None)
        return None if feeds is None else dict(feeds)
