"""Runs a net on many images: batch by batch, in this process or on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ..errors import ShapeError, UnsupportedError
from ..net.doubts import USUAL, small_inputs
from ..net.net import Net
from ..options import Copying, Filling, PathLike, Reading
from ..packed import load_net
from ..progress import track
from ..weights.trained import Weights
from . import ray
from .predictor import Predictor, Result, chunks
from .recipe import Recipe

log = logging.getLogger("caffe_compat")

BATCH = 16  # images at a time if the net takes any number

Engine = Literal["local", "ray"]


def predict(
    recipe: Recipe,
    images: Sequence[str],
    *,
    engine: Engine = "local",
    workers: int | None = None,
    batch: int | None = None,
    predictor: Predictor | None = None,
) -> Iterator[Result]:
    """Run a net on image files.

    Args:
        recipe: the model and how to run it.
        images: the files' names; `reader.find` lists directories and patterns.
        engine: `local`, this process, or `ray`, a Ray cluster.
        workers: for `ray`, the number of workers; by default one for each CPU, or GPU on `cuda`.
        batch: the number of images at a time if the net takes any number; 16 by default.
        predictor: the recipe's, if it is already built.

    Yields:
        A result for each image, in order; one that cannot be read has an `error`.

    Raises:
        CaffeCompatError: the net cannot run, or Ray is not installed.
    """
    predictor = predictor or recipe.predictor()
    parts = chunks(images, predictor.batch or batch or BATCH)
    if engine == "ray":
        batches = ray.run(recipe, parts, workers)
    else:
        batches = (predictor([(name, None) for name in part]) for part in parts)
    for _, results in zip(track(parts, "running"), batches, strict=True):
        yield from results


def load_batched(
    prototxt: PathLike,
    stored: Weights | None,
    count: int,
    reading: Reading | None = None,
    copying: Copying | None = None,
) -> Net:
    """Load a net with a batch that suits a number of images, if its layers allow that.

    A Reshape or a DetectionOutput may fix the batch; it is then the prototxt's. So it is if
    `reading` has a batch or the inputs' shapes.

    Args:
        prototxt: the net.
        stored: its weights; None: the fillers draw them.
        count: the number of images.
        reading: as for `packed.load_net`.
        copying: how far the weights may differ from the net.
    """
    reading = reading or Reading()
    if reading.batch is None and not reading.inputs:
        try:
            wider = replace(reading, batch=min(count, BATCH))
            return _warned(load_net(prototxt, stored, wider, Filling(), copying))
        except (ShapeError, UnsupportedError):
            pass
    net = load_net(prototxt, stored, reading, Filling(), copying)
    return net if reading.inputs else _warned(net)


def _warned(net: Net) -> Net:
    """Return the net; log that pictures are shrunk, where it declares a tiny input for show."""
    for value in small_inputs(net.graph):
        batch, channels, height, width = value.shape
        inputs = {value.blob: (batch, channels, *USUAL)}
        log.warning(
            "pictures are shrunk to %d x %d, which '%s' declares, and the net runs at any size; "
            "give another, as in inputs=%r, or None for any size (?)",
            height,
            width,
            value.blob,
            inputs,
            extra={"proposal": {"inputs": inputs}},
        )
    return net
