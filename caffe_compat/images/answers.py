"""The meaning of a net's outputs for an image: classes, detections, statistics; also as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from ..runtime.outputs import scores
from ..types import AnyArray, Shape, Size
from .decode import Class, Detection, check_labels, count_nan, detections, finite, top
from .predictor import Result


@dataclass(frozen=True)
class Statistics:
    """An output that is neither a classification nor detections; all None without elements."""

    shape: Shape
    mean: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True)
class Classes:
    """The best classes of a classification, by falling score."""

    top: tuple[Class, ...]


@dataclass(frozen=True)
class Detections:
    """The detections above the threshold, by falling score."""

    detections: tuple[Detection, ...]


Meaning: TypeAlias = Classes | Detections | Statistics


@dataclass(frozen=True)
class Answer:
    """The outputs for one image.

    Attributes:
        image: its name.
        size: its height and width.
        outputs: the meaning of each output, by name.
        nan: the number of NaN in each output that has any.
    """

    image: str
    size: Size
    outputs: Mapping[str, Meaning]
    nan: Mapping[str, int] = field(default_factory=dict)

    @property
    def detections(self) -> list[Detection] | None:
        """The detections of all outputs; None if the net is no detector."""
        lists = [m.detections for m in self.outputs.values() if isinstance(m, Detections)]
        return [each for boxes in lists for each in boxes] if lists else None

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; NaN and the infinities are None."""
        outputs = {name: _plain(asdict(meaning)) for name, meaning in self.outputs.items()}
        plain = {"image": self.image, "size": list(self.size), "outputs": outputs}
        return plain | ({"nan": dict(self.nan)} if self.nan else {})


def answer(
    result: Result,
    *,
    count: int = 5,
    threshold: float = 0.5,
    labels: Sequence[str] | None = None,
) -> Answer:
    """Decode the outputs for an image.

    Args:
        result: the image, without an `error`.
        count: how many classes to return of a classification.
        threshold: the min score of a detection.
        labels: the classes' labels.

    Raises:
        ShapeError: there are fewer labels than classes.
    """
    outputs: dict[str, Meaning] = {}
    for name, array in result.outputs.items():
        classes = scores(array)
        if name in result.detections:
            outputs[name] = Detections(tuple(detections(result, array, threshold, labels)))
        elif classes is not None:
            check_labels(labels, name, len(classes))
            outputs[name] = Classes(tuple(top(classes, count, labels)))
        else:
            outputs[name] = _statistics(array)
    return Answer(result.name, result.size, outputs, count_nan(result.outputs))


def _statistics(array: AnyArray) -> Statistics:
    if not array.size:
        return Statistics(array.shape, None, None, None)
    return Statistics(array.shape, float(array.mean()), float(array.min()), float(array.max()))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
