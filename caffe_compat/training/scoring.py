"""Score a net on batches, and log it, as `caffe test` does (tools/caffe.cpp)."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..types import Array
from .engine import Engine
from .log import Log


def score(engine: Engine, iterations: int, log: Log) -> dict[str, Array]:
    """Run a net forward, and return the means of its outputs by blob.

    Args:
        engine: the net, with its batches.
        iterations: the number of batches.
        log: where to log.

    Raises:
        ShapeError: there are no iterations.
    """
    if iterations < 1:
        raise ShapeError(f"iterations must be at least 1, and is {iterations}")
    source = "caffe.cpp"
    log(f"Running for {iterations} iterations.", source)
    total: dict[str, Array] = {}
    loss = np.float32(0)
    for i in range(iterations):
        one = engine.forward()
        loss += np.float32(one.loss)
        for name, array in one.outputs.items():
            for value in array.ravel():
                log(f"Batch {i}, {name} = {value:g}", source)
            total[name] = total.get(name, 0) + array
    log(f"Loss: {loss / np.float32(iterations):g}", source)
    means = {name: array / np.float32(iterations) for name, array in total.items()}
    for name, array in means.items():
        weight = engine.loss_weights.get(name, 0)
        for value in array.ravel():
            part = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
            log(f"{name} = {value:g}{part}", source)
    return means
