"""Runs a predictor on a Ray cluster: the same batches and results as in one process."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..errors import CaffeCompatError, ParseError
from ..net.net import Net
from ..net.showing import show
from ..runtime.models import lower_values, to_bytes
from . import reader
from .predictor import Result
from .recipe import Recipe

RETRIES = 3  # how often Ray starts a dead worker again, and repeats its batch
_AHEAD = 2  # batches on the way to each worker, so that none waits for the next


class _Worker:
    """A predictor in a worker's process."""

    def __init__(self, recipe: Recipe, model: bytes) -> None:
        self._predictor = replace(recipe, model=model).predictor()

    def run(self, batch: Sequence[tuple[str, bytes | None]]) -> list[Result]:
        return self._predictor(batch)


def run(
    recipe: Recipe, batches: Sequence[Sequence[str]], workers: int | None = None
) -> Iterator[list[Result]]:
    """Run the batches on Ray's workers: a cluster that RAY_ADDRESS names, or a local one.

    The images' files are read here and sent as they are, so the workers need no access to them.
    Ray starts a dead worker again and repeats its batch, up to three times.

    Args:
        recipe: the model and how to run it; `auto` is the CPU here.
        batches: the images' files.
        workers: how many; by default one for each CPU of the cluster, or GPU on `cuda`.

    Yields:
        The results of each batch, in order: those of one process.

    Raises:
        CaffeCompatError: Ray is not installed, or a batch failed for good.
    """
    try:
        import ray
    except ImportError as error:
        raise CaffeCompatError(
            f"Ray is not installed ({error}); pip install 'caffe_compat[ray]'"
        ) from error
    model = _bytes(recipe)
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        yield from _run(ray, recipe, model, batches, workers)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, CaffeCompatError):
            raise cause from None
        raise CaffeCompatError(f"a Ray worker failed: {cause}") from error
    except ray.exceptions.RayError as error:
        raise CaffeCompatError(f"Ray: {str(error).splitlines()[0]}") from error
    finally:
        if started:
            ray.shutdown()


def _bytes(recipe: Recipe) -> bytes:
    """Return the recipe's model as the bytes of one ONNX file."""
    model = recipe.model
    if isinstance(model, bytes):
        return model
    if isinstance(model, Net):
        model = lower_values(*show(model, recipe.blobs))
    return to_bytes(model)


def _run(
    ray: Any, recipe: Recipe, model: bytes, batches: Sequence[Sequence[str]], workers: int | None
) -> Iterator[list[Result]]:
    on_gpu = recipe.device.partition(":")[0] in ("cuda", "tensorrt")
    available = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))
    count = max(1, min(workers or available, len(batches)))
    needs = {"num_gpus": 1} if on_gpu else {"num_cpus": recipe.threads or 1}
    remote = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)(_Worker)
    stored = ray.put(model)  # once a machine, not once a worker
    light = replace(recipe, model=b"", threads=recipe.threads or 1)
    actors = [remote.remote(light, stored) for _ in range(count)]
    pending: deque[Any] = deque()
    for index, batch in enumerate(batches):
        pending.append(actors[index % count].run.remote([_read(name) for name in batch]))
        if len(pending) > _AHEAD * count:
            yield ray.get(pending.popleft())
    while pending:
        yield ray.get(pending.popleft())


def _read(name: str) -> tuple[str, bytes | None]:
    """Return the image's bytes; None if it cannot be read, which the worker then reports."""
    try:
        return name, reader.read_bytes(name)
    except ParseError:
        return name, None
