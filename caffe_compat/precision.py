"""Smaller numbers for a converted model: float16, or 8-bit integers calibrated on pictures."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from .graph import Graph
from .layer import Layer
from .layers.boxes import overlaps
from .predictor import is_detection
from .session import Session

Feeds = Mapping[str, NDArray[Any]]
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_OVERLAP = 0.5  # intersection over union from which two boxes are of one thing (PASCAL VOC)


@dataclass(frozen=True)
class Parity:
    """How far a model is from the float32 model that it was made from.

    Attributes:
        largest: for each output the largest difference, as a share of its largest value; of
            detections, whose order a rounding changes, between those found again.
        same: how many of the best classes are the same, of how many; None if no output is a
            classification.
        found: how many detections are found again, of how many; None if no output holds any.
    """

    largest: Mapping[str, float]
    same: tuple[int, int] | None
    found: tuple[int, int] | None

    def __str__(self) -> str:
        """One line."""
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.largest.items())
        line = f"parity with float32, largest difference as a share of the largest value: {each}"
        if self.same is not None:
            line += f"; same best class {self.same[0]} of {self.same[1]} times"
        if self.found is not None:
            line += f"; {self.found[0]} of {self.found[1]} boxes found again"
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


def to_int8(
    source: Path, target: Path, feeds: Sequence[Feeds], exact: Collection[str] = ()
) -> None:
    """Write a float32 model quantised by onnxruntime: 8-bit weights per channel, QDQ.

    What comes after the last weights, such as Softmax and the decoding of boxes, stays float32.

    Args:
        source: the float32 model's file.
        target: the file to write.
        feeds: what the model is run on to learn the ranges of its blobs.
        exact: layers that stay float32 as well; see `with_places`.

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
                nodes_to_exclude=_float_nodes(onnx.load(ready), exact),
            )  # fmt: skip


def with_places(graph: Graph) -> set[str]:
    """The layers that compute with places in a picture or indices, which 256 levels cannot say.

    These have no weights and let no gradient through: PriorBox, Proposal, ROIPooling, ArgMax, ...
    """
    return {
        node.layer.name
        for node in graph.nodes
        if node.bottoms and not node.blobs and type(node.layer).backward is Layer.backward
    }


def _float_nodes(model: onnx.ModelProto, exact: Collection[str]) -> list[str]:
    """The nodes that nothing with weights comes after, and those of the layers in `exact`."""
    kept = []
    before: set[str] = set()  # the tensors that weights come after
    for node in reversed(model.graph.node):
        if node.op_type in _WEIGHTED or not before.isdisjoint(node.output):
            before.update(node.input)
        else:
            kept.append(node.name)
        if node.name in exact or node.name.rpartition("/")[0] in exact:
            kept.append(node.name)
    return kept


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
    same, found = [0, 0], [0, 0]
    for feed in feeds:
        wanted, made = reference.run(feed), session.run(feed)
        for name, want in wanted.items():
            other = made[name]
            if is_detection(want.shape):
                boxes = int((want[0, 0, :, 1] >= 0).sum())
                want, other = _found_again(want[0, 0], other[0, 0])
                found[0] += len(want)
                found[1] += boxes
            elif want.ndim > 1:
                rows = [(w, o) for w, o in zip(want, other, strict=True) if scores(w) is not None]
                same[0] += sum(int(np.argmax(w) == np.argmax(o)) for w, o in rows)
                same[1] += len(rows)
            difference = np.abs(want.astype(np.float64) - other)
            worst[name] = max(worst.get(name, 0.0), _greatest(difference))
            largest[name] = max(largest.get(name, 0.0), float(np.abs(want).max(initial=0)))
    tiny = float(np.finfo(np.float32).tiny)
    shares = {name: worst[name] / max(largest[name], tiny) for name in worst}
    return Parity(shares, *((n[0], n[1]) if n[1] else None for n in (same, found)))


def _found_again(rows: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores and boxes of the detections that both have, in the same order.

    Found again is what has the same image and label and overlaps by half, each taken once.
    """
    left = list(range(len(others)))
    pairs = []
    for i in np.flatnonzero(rows[:, 1] >= 0):
        alike = [j for j in left if (others[j, :2] == rows[i, :2]).all()]
        shares = overlaps(rows[i, 3:], others[alike, 3:])
        if len(alike) and shares.max() >= _OVERLAP:
            left.remove(alike[int(shares.argmax())])
            pairs.append((i, alike[int(shares.argmax())]))
    ours, theirs = np.array(pairs, np.int64).reshape(-1, 2).T
    return rows[ours, 2:], others[theirs, 2:]


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
