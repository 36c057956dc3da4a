"""Pictures over a Ray cluster: the single process's work, batch for batch, on many workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray

from ..errors import CaffeCompatError, ParseError
from ..net.preprocess import Preprocess
from ..onnx import writer
from ..onnx.lowering import Lowered
from ..runtime.session import Session
from . import pictures
from .predictor import Predictor, Result

RETRIES = 3  # how often Ray starts a dead worker again, and gives a batch to it again
_AHEAD = 2  # batches on the way to each worker, so that none waits for the next


@dataclass(frozen=True)
class Recipe:
    """All that a worker needs to build its own predictor.

    Attributes:
        model: an ONNX file's bytes.
        preprocess: as for Predictor.
        feeds: as for Predictor.
        device: as for Session, as are `blobs` and `threads`.
        blobs: blobs to give beside the net's outputs.
        threads: the threads of one worker's operators.
    """

    model: bytes
    preprocess: Preprocess | None = None
    feeds: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    device: str = "cpu"
    blobs: tuple[str, ...] = ()
    threads: int = 1

    def predictor(self) -> Predictor:
        """The predictor in this process."""
        session = Session(self.model, self.device, blobs=self.blobs, threads=self.threads)
        return Predictor(session, self.preprocess, self.feeds)


class _Worker:
    """What runs in a worker's process."""

    def __init__(self, recipe: Recipe, model: bytes) -> None:
        self._predictor = replace(recipe, model=model).predictor()

    def run(self, batch: Sequence[tuple[str, bytes | None]]) -> list[Result]:
        return self._predictor(batch)


def model_bytes(model: Lowered | str | Path) -> bytes:
    """A model as the bytes of one ONNX file, its weights inside.

    Raises:
        CaffeCompatError: it is no ONNX file, or over 2 GiB with its weights.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        if isinstance(model, Lowered):
            writer.save(model, path, "inline")
            return path.read_bytes()
        try:
            return bytes(onnx.load(model).SerializeToString())
        except Exception as error:  # protobuf's own error types depend on its implementation
            raise CaffeCompatError(f"{model}: cannot be read as one ONNX file: {error}") from error


def run(
    recipe: Recipe, batches: Sequence[Sequence[str]], workers: int | None = None
) -> Iterator[list[Result]]:
    """Run the batches on Ray's workers: a cluster that RAY_ADDRESS names, or a local one.

    The pictures' files are read here and sent as they are, so the workers need not see them. A
    worker that dies is started again by Ray, and its batch run again, up to three times.

    Args:
        recipe: the model and how to run it.
        batches: the pictures' files.
        workers: how many; by default one for each CPU of the cluster, or GPU on `cuda`.

    Yields:
        The results of each batch, in order: what the single process gives.

    Raises:
        CaffeCompatError: Ray is not installed, or a batch failed for good.
    """
    try:
        import ray
    except ImportError as error:
        raise CaffeCompatError(
            f"Ray is not installed ({error}); pip install caffe_compat[ray]"
        ) from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    try:
        yield from _run(ray, recipe, batches, workers)
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


def _run(
    ray: Any, recipe: Recipe, batches: Sequence[Sequence[str]], workers: int | None
) -> Iterator[list[Result]]:
    on_gpu = recipe.device.partition(":")[0] in ("cuda", "tensorrt")
    have = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))
    count = max(1, min(workers or have, len(batches)))
    needs = {"num_gpus": 1} if on_gpu else {"num_cpus": recipe.threads or 1}
    remote = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)(_Worker)
    model = ray.put(recipe.model)  # once a machine, not once a worker
    light = replace(recipe, model=b"", threads=recipe.threads or 1)
    actors = [remote.remote(light, model) for _ in range(count)]
    pending: deque[Any] = deque()
    for at, batch in enumerate(batches):
        pending.append(actors[at % count].run.remote([_read(name) for name in batch]))
        if len(pending) > _AHEAD * count:
            yield ray.get(pending.popleft())
    while pending:
        yield ray.get(pending.popleft())


def _read(name: str) -> tuple[str, bytes | None]:
    """The picture's bytes; none where it cannot be read, which the worker then finds too."""
    try:
        return name, pictures.read_bytes(name)
    except ParseError:
        return name, None
