"""Examine a net at initialisation, before any training, and look for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import CaffeCompatError, ShapeError
from ..fillers.rng import make_rng
from ..net.graph import Graph
from ..net.preprocess import Preprocess, from_prototxt
from ..options import SEED, Filling, PathLike, Reading
from ..steps import open_weights
from ..types import Array
from ..weights.trained import Weights
from .bench import Bench, draw, feeds_of, make_feeds
from .diagnosis import Diagnosis, Run
from .findings import find
from .known import read_known
from .patient import Patient
from .pictures import read_pictures
from .variants import Variant, refill, with_batch_statistics

AS_WRITTEN = "as written"
_BATCH = 4  # the pictures that tell what more would


def diagnose(
    prototxt: PathLike,
    weights_file: PathLike | Weights | None = None,
    *,
    reading: Reading | None = None,
    drawing: Filling | None = None,
    trials: int = 3,
    data: Array | Mapping[str, Array] | None = None,
    pictures: PathLike | None = None,
    preprocess: Callable[[Graph], Preprocess | None] | None = None,
    compare: Sequence[Variant] = (),
) -> Diagnosis:
    """Read a net and examine it; the inputs take the shapes of the data.

    Args:
        prototxt: the net.
        weights_file: trained weights, if there are any.
        reading: how the prototxt becomes a graph.
        drawing: how parameters that no weights file gives are drawn.
        trials: as for `examine`, like the others.
        data: as for `examine`; a batch of `caffe_compat.data.batches` is such a mapping.
        pictures: an image, or a folder of images, for the first input in place of `data`.
        preprocess: returns how a picture becomes the net's input; by default the prototxt's way.
        compare: other fillers.

    A batch of four is examined where the prototxt has a larger one, and an end of layers that
    only a fork knows, such as its loss, is left away.

    Raises:
        CaffeCompatError: as for `read` and `examine`; an image cannot be read.
    """
    reading, drawing = reading or Reading(), drawing or Filling()
    weights = open_weights(weights_file)
    graph, left = read_known(prototxt, weights, _sized(reading, data))
    if pictures is not None:
        way = preprocess(graph) if preprocess else from_prototxt(graph.net, Path(prototxt).parent)
        data = read_pictures(graph, pictures, way)
    feeds = feeds_of(graph, data)
    if any(value.shape != feeds[value.blob].shape for value in graph.inputs if value.blob in feeds):
        shapes = {name: array.shape for name, array in feeds.items()}
        inputs = {**reading.inputs, **shapes}
        graph, left = read_known(prototxt, weights, replace(reading, inputs=inputs))
    elif not feeds and reading.batch is None and not reading.inputs:
        graph = _resized(prototxt, weights, reading, graph)
    diagnosis = examine(
        graph,
        weights,
        seed=drawing.seed,
        rng=drawing.rng,
        slopes=drawing.slopes,
        trials=trials,
        data=data,
        compare=compare,
    )
    return replace(diagnosis, findings=(*diagnosis.findings, *left))


def _sized(reading: Reading, data: Array | Mapping[str, Array] | None) -> Reading:
    if not isinstance(data, Mapping):
        return reading
    shapes = {name: array.shape for name, array in data.items()}
    return replace(reading, inputs={**reading.inputs, **shapes})


def _resized(prototxt: PathLike, weights: Weights | None, reading: Reading, graph: Graph) -> Graph:
    """Return the net at a batch that tells as much as a larger one; its own if it has no other."""
    sizes = {value.shape[:1] for value in graph.inputs}
    normal = any(node.layer.type == "BatchNorm" for node in graph.nodes)
    size = next(iter(sizes))[0] if len(sizes) == 1 and () not in sizes else _BATCH
    if size > _BATCH or (size < _BATCH and normal):
        with suppress(CaffeCompatError):  # a layer that is written for one batch
            return read_known(prototxt, weights, replace(reading, batch=_BATCH))[0]
    return graph


def examine(
    graph: Graph,
    weights: Weights | None = None,
    *,
    seed: int = SEED,
    rng: str = "boost-1.64",
    trials: int = 3,
    slopes: Literal["auto"] | None = None,
    data: Array | Mapping[str, Array] | None = None,
    compare: Sequence[Variant] = (),
) -> Diagnosis:
    """Measure a net's signals and find what is wrong with them.

    BatchNorm uses the batch's own statistics, as in training, unless there are weights.

    Args:
        graph: the net, in the phase to examine.
        weights: trained weights; the fillers draw those of layers that it lacks.
        seed: the seed of the fillers' random numbers in the first trial; each further trial
            adds 1.
        rng: whose random numbers, as for `caffe_compat.load`.
        trials: how often to draw weights and input; the results are averages.
        slopes: `auto` finds the slope of every msra filler in the net.
        data: input in place of random numbers: for the net's first input, or by input's name.
        compare: other fillers to measure the net under, without the trained weights.

    Raises:
        ShapeError: `trials` is below 1; the data do not fit the net's input.
        CaffeCompatError: a filler is refused.
    """
    if trials < 1:
        raise ShapeError(f"trials must be positive, and is {trials}")
    live = graph if weights else with_batch_statistics(graph)
    bench = Bench(range(seed, seed + trials), rng, data)
    written = refill(live, Variant(AS_WRITTEN, None, slopes), weights)
    flow = bench.measure(written, weights)
    runs = [Run(AS_WRITTEN, bench.signals(written, weights), *flow.arrivals())]
    for choice in compare:
        changed = refill(live, choice)
        arrivals = bench.measure(changed).arrivals()
        runs.append(Run(choice.label, bench.signals(changed), *arrivals))
    net, from_file = draw(written, weights, make_rng(rng, seed))
    patient = Patient(
        net,
        graph,
        from_file,
        make_feeds(net, 0, data),
        data is not None,
        flow,
        lambda changed, count: bench.measure(changed, weights, count),
    )
    return Diagnosis(graph.net.name, seed, trials, flow.unit, tuple(runs), find(patient))
