"""`caffe-compat export`: a net for a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .models import Model
from .terminal import say


def command(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", show_default=False, help="An .onnx or .prototxt file."),
    ],
    *,
    triton: Annotated[
        Path, typer.Option("--triton", metavar="DIR", help="The Triton model repository to write.")
    ],
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="A prototxt's weights.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The model's name (default: the file's)."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="The classes' names, one a line."),
    ] = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", metavar="N", min=1, help="Largest batch of requests.")
    ] = 16,
    delay: Annotated[
        int,
        typer.Option(
            "--delay", metavar="US", min=0, help="How long a batch may wait, in microseconds."
        ),
    ] = 1000,
    opset: options.Opset = 18,
    selection: options.Selection,
) -> None:
    """Write a model repository for NVIDIA's Triton: model, configuration, labels.

    A prototxt is converted with an open batch axis unless --batch says otherwise.
    """
    from caffe_compat.images import decode
    from caffe_compat.images import triton as repository

    names = decode.read_labels(labels) if labels is not None else None
    fixed = selection.batch is not None or selection.shapes
    opened, _ = Model(model, weights, selection).open(**{} if fixed else {"batch": "dynamic"})
    written = repository.export(
        lambda path: _write(opened, path, opset),
        triton,
        name or model.stem,
        labels=names,
        max_batch=max_batch,
        delay=delay,
    )
    for path in written.files:
        say(f"{path}  {path.stat().st_size:,} bytes")
    if written.batching is not None:
        say(f"note: no dynamic batching, since {written.batching}", err=True)


def _write(model: Any, path: Path, opset: int) -> Sequence[Path]:
    """Convert a net, or copy an ONNX file with its weights inside."""
    from caffe_compat import pipeline

    if not isinstance(model, Path):
        return pipeline.to_onnx(model, path, opset=opset).files
    from caffe_compat.files import atomic
    from caffe_compat.images.ray import model_bytes

    with atomic(path) as place:
        place.write_bytes(model_bytes(model))
    return (path,)
