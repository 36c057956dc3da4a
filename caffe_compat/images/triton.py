"""Writes a model repository for NVIDIA's Triton Inference Server."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CaffeCompatError, ShapeError
from ..files import atomic
from ..runtime.session import Session
from ..types import Dims

_TYPES: dict[Any, str] = {
    np.float32: "TYPE_FP32",
    np.float16: "TYPE_FP16",
    np.float64: "TYPE_FP64",
    np.uint8: "TYPE_UINT8",
    np.int8: "TYPE_INT8",
    np.int32: "TYPE_INT32",
    np.int64: "TYPE_INT64",
    np.bool_: "TYPE_BOOL",
}
LABELS = "labels.txt"


@dataclass(frozen=True)
class Repository:
    """What was written.

    Attributes:
        files: config.pbtxt, the model, and the labels if there are any.
        batching: why Triton cannot join requests into batches; None if it can.
    """

    files: tuple[Path, ...]
    batching: str | None


def export(
    write_model: Callable[[Path], Sequence[Path]],
    folder: str | Path,
    name: str,
    *,
    labels: Sequence[str] | None = None,
    max_batch: int = 16,
    delay: int = 1000,
) -> Repository:
    """Write FOLDER/NAME/config.pbtxt and FOLDER/NAME/1/model.onnx, for Triton's onnxruntime.

    Args:
        write_model: writes the ONNX file at the path that it is given, and returns its files.
        folder: the model repository; other models in it stay.
        name: the model's.
        labels: for the outputs that are classifications.
        max_batch: how many requests' pictures Triton may join, where the batch axis is open.
        delay: how long it may wait for more of them, in microseconds.

    Raises:
        CaffeCompatError: the name is no folder's name.
        ShapeError: there are fewer labels than classes.
    """
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
        raise CaffeCompatError(f"{name!r} is no name for a model of a Triton repository")
    home = Path(folder) / name
    model = home / "1" / "model.onnx"
    model.parent.mkdir(parents=True, exist_ok=True)
    files = list(write_model(model))
    session = Session(model, "cpu")
    reason = _unbatchable(session)
    text = _config(session, name, labels, 0 if reason else max_batch, delay)
    if labels is not None:
        with atomic(home / LABELS) as place:
            place.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        files.append(home / LABELS)
    with atomic(home / "config.pbtxt") as place:  # last: a server that looks on sees a whole model
        place.write_text(text, encoding="utf-8")
    return Repository((home / "config.pbtxt", *files), reason)


def _unbatchable(session: Session) -> str | None:
    for name, dims in {**session.inputs, **session.outputs}.items():
        if not dims or dims[0] is not None:
            say = "x".join("?" if n is None else str(n) for n in dims) or "a scalar"
            cure = " (--batch dynamic opens it)" if name in session.inputs else ""
            return f"'{name}' is {say}, its first axis not open{cure}"
    return None


def _config(
    session: Session, name: str, labels: Sequence[str] | None, max_batch: int, delay: int
) -> str:
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {max_batch}",
    ]
    for blob, dims in session.inputs.items():
        lines += _tensor("input", blob, session.dtypes[blob], dims, bool(max_batch), None)
    for blob, dims in session.outputs.items():
        own = labels if labels is not None and _classes(dims) else None
        if own is not None and len(own) < _classes(dims):
            raise ShapeError(f"{len(own)} labels for the {_classes(dims)} classes of '{blob}'")
        lines += _tensor("output", blob, session.dtypes[blob], dims, bool(max_batch), own)
    if max_batch:
        lines += ["dynamic_batching {", f"  max_queue_delay_microseconds: {delay}", "}"]
    return "\n".join(lines) + "\n"


def _tensor(
    kind: str, name: str, dtype: Any, dims: Dims, batched: bool, labels: Sequence[str] | None
) -> list[str]:
    own = dims[1:] if batched else dims
    sizes = ", ".join("-1" if n is None else str(n) for n in own)
    lines = [f"{kind} {{", f"  name: {json.dumps(name)}", f"  data_type: {_TYPES[dtype]}"]
    # Triton wants a dimension of every tensor; one value is one, reshaped to none for the model.
    lines += [f"  dims: [ {sizes} ]"] if own else ["  dims: [ 1 ]", "  reshape { shape: [ ] }"]
    if labels is not None:
        lines.append(f"  label_filename: {json.dumps(LABELS)}")
    return [*lines, "}"]


def _classes(dims: Dims) -> int:
    """How many classes an output [N, C] or [N, C, 1, 1] tells apart; 0 if it is none."""
    rest = [n or 0 for n in dims[1:]]
    return rest[0] if rest and rest[0] > 1 and math.prod(rest) == rest[0] else 0
