"""Measures a net at initialisation, before any training, and looks for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import ShapeError
from ..fillers.rng import Rng, make_rng
from ..net.graph import Graph
from ..net.net import Net
from ..net.params import fill
from ..net.params import load as load_weights
from ..options import SEED, Filling, PathLike, Reading
from ..pipeline import read_graph
from ..progress import track
from ..runtime.sampling import random_feeds
from ..steps import open_weights
from ..types import Array
from ..weights.trained import Weights
from .diagnosis import Diagnosis, Run
from .findings import find
from .patient import Patient
from .signals import average, measure
from .variants import Variant, refill, with_batch_statistics

AS_WRITTEN = "as written"


def diagnose(
    prototxt: PathLike,
    weights_file: PathLike | Weights | None = None,
    *,
    reading: Reading | None = None,
    drawing: Filling | None = None,
    trials: int = 3,
    data: Array | Mapping[str, Array] | None = None,
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
        compare: other fillers.

    Raises:
        CaffeCompatError: as for `read` and `examine`.
    """
    reading, drawing = reading or Reading(), drawing or Filling()
    weights = open_weights(weights_file)
    if isinstance(data, Mapping):
        shapes = {name: array.shape for name, array in data.items()}
        reading = replace(reading, inputs={**reading.inputs, **shapes})
    graph = read_graph(prototxt, weights, reading)
    feeds = _feeds_of(graph, data)
    if any(value.shape != feeds[value.blob].shape for value in graph.inputs if value.blob in feeds):
        shapes = {name: array.shape for name, array in feeds.items()}
        inputs = {**reading.inputs, **shapes}
        graph = read_graph(prototxt, weights, replace(reading, inputs=inputs))
    return examine(
        graph,
        weights,
        seed=drawing.seed,
        rng=drawing.rng,
        slopes=drawing.slopes,
        trials=trials,
        data=data,
        compare=compare,
    )


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
    seeds = range(seed, seed + trials)
    first: Patient | None = None
    runs = []
    for variant in (Variant(AS_WRITTEN, None, slopes), *compare):
        trained = weights if variant.label == AS_WRITTEN else None
        changed = refill(live, variant, trained)
        measured = []
        for trial, number in enumerate(track(seeds, f"measuring {variant.label}")):
            net, from_file = _draw(changed, trained, make_rng(rng, number))
            feeds = _feeds(net, trial, data)
            measured.append(measure(net, feeds, trial))
            first = first or Patient(net, graph, from_file, feeds, data is not None)
        runs.append(Run(variant.label, average(measured)))
    assert first is not None
    moment = first.moment
    findings = find(first, runs[0].signals)
    return Diagnosis(graph.net.name, seed, trials, moment, tuple(runs), findings)


def _draw(graph: Graph, weights: Weights | None, rng: Rng) -> tuple[Net, frozenset[str]]:
    """Return the net, and the layers whose blobs are the file's."""
    if weights is None:
        return fill(graph, rng), frozenset()
    net, report = load_weights(graph, weights, rng)
    return net, frozenset(node.layer.name for node in graph.nodes) - set(report.left)


def _feeds_of(graph: Graph, data: Array | Mapping[str, Array] | None) -> Mapping[str, Array]:
    """Return the caller's data by input."""
    if data is None or isinstance(data, Mapping):
        return data or {}
    if not graph.inputs:
        raise ShapeError("the net has no input to take data")
    return {graph.inputs[0].blob: data}


def _feeds(net: Net, trial: int, data: Array | Mapping[str, Array] | None) -> dict[str, Array]:
    feeds = random_feeds(net, trial)
    shapes = {value.blob: value.shape for value in net.graph.inputs}
    for blob, array in _feeds_of(net.graph, data).items():
        if blob not in shapes:
            raise ShapeError(f"the net has no input '{blob}'; its inputs: {', '.join(shapes)}")
        if array.shape != shapes[blob]:
            raise ShapeError(f"input '{blob}' is {shapes[blob]}, the data are {array.shape}")
        feeds[blob] = np.asarray(array, np.float32)
    return feeds
