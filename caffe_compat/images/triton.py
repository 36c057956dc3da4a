"""Writes a model repository for NVIDIA's Triton Inference Server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CaffeCompatError
from ..files import atomic, make_folder
from ..net.net import Net
from ..onnx import writer
from ..onnx.lowering import Lowered
from ..options import Onnx
from ..packed import lower_net
from ..runtime.models import to_bytes
from ..runtime.session import Session
from ..types import Dims
from .decode import check_labels, count_classes

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
_ONNX = Onnx()


@dataclass(frozen=True)
class Repository:
    """The files of a model in a repository.

    Attributes:
        files: config.pbtxt, the model, and the labels if there are any.
        unbatchable: why Triton cannot join requests into batches; None if it can.
        remedies: the arguments that this proposes, as of an error.
    """

    files: tuple[Path, ...]
    unbatchable: str | None
    remedies: tuple[str, ...] = ()


def export(
    model: Net | str | Path,
    folder: str | Path,
    name: str,
    *,
    labels: Sequence[str] | None = None,
    max_batch: int = 16,
    delay: int = 1000,
    onnx: Onnx = _ONNX,
) -> Repository:
    """Write FOLDER/NAME/config.pbtxt and FOLDER/NAME/1/model.onnx, for Triton's onnxruntime.

    Args:
        model: a net, or an ONNX file, which is copied with its weights inside.
        folder: the model repository; other models in it stay.
        name: the model's name.
        labels: the classes' labels, for the outputs that are classifications.
        max_batch: how many requests Triton may join to a batch, if the batch axis is open.
        delay: how long it may wait for more of them, in microseconds.
        onnx: how a net becomes an ONNX file.

    Raises:
        CaffeCompatError: the name is no folder's name.
        ShapeError: there are fewer labels than classes.
    """
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
        raise CaffeCompatError(f"{name!r} is no name for a model of a Triton repository")
    content = lower_net(model, onnx) if isinstance(model, Net) else to_bytes(model)
    session = Session(content, "cpu")
    closed, reason = _unbatchable(session)
    text = _config(session, name, labels, 0 if reason else max_batch, delay)
    # Nothing is written before everything is known to be right.
    home = Path(folder) / name
    files = list(_write(content, make_folder(home / "1") / "model.onnx", onnx))
    if labels is not None:
        with atomic(home / LABELS) as place:
            place.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        files.append(home / LABELS)
    with atomic(home / "config.pbtxt") as place:  # last: a running server sees a whole model
        place.write_text(text, encoding="utf-8")
    remedies = ("batch",) if closed in session.inputs else ()
    return Repository((home / "config.pbtxt", *files), reason, remedies)


def _write(content: Lowered | bytes, path: Path, onnx: Onnx) -> Sequence[Path]:
    if isinstance(content, Lowered):
        return writer.save(content, path, onnx.weights_as).files
    with atomic(path) as place:
        place.write_bytes(content)
    return (path,)


def _unbatchable(session: Session) -> tuple[str | None, str | None]:
    """Return the first input or output whose first axis is not open, and a sentence about it."""
    for name, dims in {**session.inputs, **session.outputs}.items():
        if not dims or dims[0] is not None:
            shape = "x".join("?" if n is None else str(n) for n in dims) or "a scalar"
            remedy = "; batch='dynamic' opens it" if name in session.inputs else ""
            return name, f"'{name}' is {shape}, its first axis not open{remedy}"
    return None, None


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
        own = labels if labels is not None and count_classes(dims) else None
        check_labels(own, blob, count_classes(dims))
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
    # Triton wants an axis in every tensor: a scalar has one, which the model does not see.
    lines += [f"  dims: [ {sizes} ]"] if own else ["  dims: [ 1 ]", "  reshape { shape: [ ] }"]
    if labels is not None:
        lines.append(f"  label_filename: {json.dumps(LABELS)}")
    return [*lines, "}"]
