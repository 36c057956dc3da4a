"""The lines that `run` prints for images and arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..images.answers import Answer, Classes, Detections
from ..text import say_shape


def lines(answer: Answer, drawing: Path | None = None) -> Iterator[str]:
    """Yield the answer for one image as text."""
    yield f"{answer.image}  {answer.size[1]}x{answer.size[0]} pixels"
    for name, meaning in answer.outputs.items():
        if isinstance(meaning, Classes):
            yield f"  {name}"
            for each in meaning.top:
                score = "NaN" if each.score != each.score else f"{each.score:.4f}"
                yield f"  {score:>9}  {each.index:>5}  {each.label or ''}".rstrip()
        elif isinstance(meaning, Detections):
            yield f"  {name}  {len(meaning.detections)} boxes"
            for box in meaning.detections:
                corners = " ".join("NaN" if n != n else f"{n:.1f}" for n in box.box)
                yield f"  {box.score:9.4f}  {box.label or box.index}  {corners}"
        else:
            statistics = {"mean": meaning.mean, "min": meaning.min, "max": meaning.max}
            numbers = (f"{k} {v:.6g}" for k, v in statistics.items() if v is not None)
            yield f"  {name}  {say_shape(meaning.shape)}  {'  '.join(numbers)}"
    if drawing is not None:
        yield f"  {drawing}"
