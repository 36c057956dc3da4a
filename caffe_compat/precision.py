"""Smaller numbers for a converted model: float16, or 8-bit integers calibrated on pictures."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .answers import scores
from .devices import runtime
from .errors import CaffeCompatError
from .files import atomic
from .session import Session

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Parity:
    """How far a model is from the float32 model that it was made from.

    Attributes:
        largest: for each output the largest difference, as a share of its largest value.
        same: how many of the best classes are the same, of how many; None if no output is a
            classification.
    """

    largest: Mapping[str, float]
    same: tuple[int, int] | None

    def __str__(self) -> str:
        """One line."""
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.largest.items())
        line = f"parity with float32, largest difference as a share of the largest value: {each}"
        if self.same is not None:
            line += f"; same best class {self.same[0]} of {self.same[1]} times"
        return line


def to_half(source: Path, target: Path) -> None:
    """Write a float32 model with weights and arithmetic in float16; its inputs stay as they are.

    Args:
        source: the float32 model's file.
        target: the file to write.

    Raises:
        CaffeCompatError: onnxruntime's converter cannot.
    """
    runtime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quietly(source, "float16"):
        half = convert_float_to_float16(onnx.load(source), keep_io_types=True)
        with atomic(target) as place:
            onnx.save(half, place)


def to_int8(source: Path, target: Path, feeds: Sequence[Feeds]) -> None:
    """Write a float32 model quantised by onnxruntime: 8-bit weights per channel, QDQ.

    Args:
        source: the float32 model's file.
        target: the file to write.
        feeds: what the model is run on to learn the ranges of its blobs.

    Raises:
        CaffeCompatError: onnxruntime's quantiser cannot.
    """
    runtime()
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=target.parent) as folder, atomic(target) as place:
        ready = Path(folder) / "ready.onnx"
        with _quietly(source, "int8"):
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True,
                              skip_optimization=True)
            quantize_static(
                str(ready), str(place), _Calibration(feeds), per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip


class _Calibration:
    """Hands the feeds to onnxruntime's calibrator, one at a time."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds, self._left = feeds, iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left = iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)


def compare(reference: Session, session: Session, feeds: Sequence[Feeds]) -> Parity:
    """Run both on the feeds, and say how far the second is from the first."""
    worst: dict[str, float] = {}
    largest: dict[str, float] = {}
    same = total = 0
    for feed in feeds:
        wanted, made = reference.run(feed), session.run(feed)
        for name, want in wanted.items():
            difference = np.abs(want.astype(np.float64) - made[name])
            worst[name] = max(worst.get(name, 0.0), _greatest(difference))
            largest[name] = max(largest.get(name, 0.0), float(np.abs(want).max(initial=0)))
            for row, other in zip(want, made[name], strict=True) if want.ndim > 1 else ():
                if scores(row) is not None:
                    total += 1
                    same += int(np.argmax(row) == np.argmax(other))
    tiny = float(np.finfo(np.float32).tiny)
    shares = {name: worst[name] / max(largest[name], tiny) for name in worst}
    return Parity(shares, (same, total) if total else None)


def _greatest(difference: NDArray[Any]) -> float:
    """The largest value; NaN counts as endless."""
    value = float(difference.max(initial=0))
    return float("inf") if np.isnan(value) else value


@contextlib.contextmanager
def _quietly(source: Path, what: str) -> Iterator[None]:
    """Onnxruntime's tools warn and log at length about what is as it should be."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CaffeCompatError:
        raise
    except Exception as error:  # whatever onnxruntime's own code raises
        raise CaffeCompatError(f"{source}: onnxruntime cannot make it {what}: {error}") from error
    finally:
        root.setLevel(level)
