"""`caffe-compat extract-features`: a net's blobs over its own data, as databases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..data.features import extract_features
from ..options import SEED
from . import options
from .terminal import say


def command(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", show_default=False)],
    net: options.Prototxt,
    blobs: Annotated[str, typer.Argument(metavar="BLOB[,BLOB]", show_default=False)],
    outs: Annotated[str, typer.Argument(metavar="DB[,DB]", show_default=False)],
    *,
    batches: Annotated[
        int, typer.Option("--batches", metavar="N", min=1, help="How many batches to run.")
    ],
    backend: Annotated[
        options.Backend, typer.Option(help="The kind of database.")
    ] = options.Backend.LMDB,
    device: options.Device = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Of shuffles and mirrors.")] = SEED,
    skip_bad: options.SkipBad = False,
    layers: options.Layers,
    fit: options.Fit,
) -> None:
    """Run a net on its own data, and write blobs to databases.

    Each item of a batch becomes a record of floats. The layers are those of the TEST phase.
    """
    done = extract_features(
        weights,
        net,
        blobs.split(","),
        [Path(out) for out in outs.split(",")],
        batches,
        backend="lmdb" if backend is options.Backend.LMDB else "leveldb",
        device=device,
        level=layers.level,
        stages=layers.stage or (),
        ignore_unknown=layers.names_to_ignore,
        fork=layers.fork,
        seed=seed,
        skip_bad=skip_bad,
        allow_missing=fit.allow_missing,
        allow_reshape=fit.allow_reshape,
    )
    for (blob, count), out in zip(done.items(), outs.split(","), strict=True):
        say(f"{out}  {count:,} records of {blob}")
