"""Will a net's signals survive its depth? Measured at initialisation, before any training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, Literal

import numpy as np

from .. import fillers
from ..caffe_pb2 import FillerParameter, LayerParameter
from ..errors import ParseError, ShapeError
from ..fillers.rng import Rng, make_rng
from ..layers.layer import Blob
from ..net.graph import Graph, Node
from ..net.net import Net
from ..net.params import fill
from ..net.params import load as load_weights
from ..net.slopes import apply, resolve
from ..progress import track
from ..runtime.verification import random_feeds
from ..types import Array
from ..weights.trained import Weights
from .findings import find
from .patient import Finding, Patient
from .signals import Signal, average, measure
from .theory import is_weighted

AS_WRITTEN = "as written"


@dataclass(frozen=True)
class Variant:
    """A net under other fillers.

    Attributes:
        label: what it is called.
        filler: for the weights of every layer that has any; None: as the net has them.
        slopes: `auto` finds the slope of every msra filler in the net.
    """

    label: str
    filler: FillerParameter | None = None
    slopes: Literal["auto"] | None = None


@dataclass(frozen=True)
class Run:
    """What was measured of a net under one choice of fillers."""

    label: str
    signals: tuple[Signal, ...]

    @property
    def weighted(self) -> tuple[Signal, ...]:
        """The layers with weights, which make the curves."""
        return tuple(signal for signal in self.signals if signal.weighted)


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        net: the net's name.
        seed: of the first trial.
        trials: how many there were.
        moment: E[x²] of the input.
        runs: the net as it is written, and then the fillers that it was compared with.
        findings: about the first run, the severe ones first.
    """

    net: str
    seed: int
    trials: int
    moment: float
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]

    @property
    def severe(self) -> bool:
        """Whether anything found will keep the net from training."""
        return any(finding.severity == "severe" for finding in self.findings)

    def to_json(self) -> str:
        """All of it as JSON; what overflowed is the string "inf"."""
        return json.dumps(_plain(asdict(self) | {"severe": self.severe}), indent=2) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def examine(
    graph: Graph,
    weights: Weights | None = None,
    *,
    seed: int = 1701,
    rng: str = "boost-1.64",
    trials: int = 3,
    slopes: Literal["auto"] | None = None,
    data: Array | None = None,
    compare: Sequence[Variant] = (),
) -> Diagnosis:
    """Measure a net's signals and say what is wrong with them.

    BatchNorm goes by the batch's own statistics, as in training, unless there are weights.

    Args:
        graph: the net, in the phase to look at.
        weights: trained ones; what they lack the fillers draw.
        seed: of the fillers' random numbers in the first trial; each further one adds 1.
        rng: whose random numbers, as `caffe_compat.load` takes it.
        trials: how often to draw weights and input, and to average.
        slopes: `auto` finds the slope of every msra filler in the net.
        data: input in the place of random numbers, for the net's first input.
        compare: other fillers to measure the net under; the weights are then theirs.

    Raises:
        ShapeError: `trials` is below 1; the data do not fit the net's input.
        CaffeCompatError: a filler is refused.
    """
    if trials < 1:
        raise ShapeError(f"trials must be positive, and is {trials}")
    live = graph if weights else replace_layers(graph, _with_batch_statistics)
    seeds = range(seed, seed + trials)
    first: Patient | None = None
    runs = []
    for variant in (Variant(AS_WRITTEN, None, slopes), *compare):
        held = weights if variant.label == AS_WRITTEN else None
        changed = refill(live, variant, held)
        measured = []
        for i, number in enumerate(track(seeds, f"measuring {variant.label}")):
            net, loaded = _draw(changed, held, make_rng(rng, number))
            feeds = _feeds(net, i, data)
            measured.append(measure(net, feeds, i))
            first = first or Patient(net, graph, loaded, feeds, data is not None)
        runs.append(Run(variant.label, average(measured)))
    assert first is not None
    moment = first.moment
    found = find(first, runs[0].signals)
    return Diagnosis(graph.net.name, seed, trials, moment, tuple(runs), found)


def _draw(graph: Graph, weights: Weights | None, rng: Rng) -> tuple[Net, frozenset[str]]:
    """The net, and the layers whose blobs are the file's."""
    if weights is None:
        return fill(graph, rng), frozenset()
    net, report = load_weights(graph, weights, rng)
    return net, frozenset(node.layer.name for node in graph.nodes) - set(report.left)


def _feeds(net: Net, trial: int, data: Array | None) -> dict[str, Array]:
    feeds = random_feeds(net, trial)
    if data is not None:
        if not net.graph.inputs:
            raise ShapeError("the net has no input to take data")
        value = net.graph.inputs[0]
        if data.shape != value.shape:
            raise ShapeError(f"input '{value.blob}' is {value.shape}, the data are {data.shape}")
        feeds[value.blob] = np.asarray(data, np.float32)
    return feeds


# ---- other fillers ------------------------------------------------------------------------------


def variant(text: str) -> Variant:
    """What `xavier`, `msra`, `msra:auto`, `msra:0.25` (its a) or `gaussian:0.01` stands for.

    Raises:
        ParseError: it is none of these.
    """
    name, _, setting = text.partition(":")
    filler = FillerParameter(type=name)
    if name == "msra" and setting == "auto":
        return Variant(text, filler, "auto")
    field = {"msra": "a", "gaussian": "std", "constant": "value"}.get(name)
    if name not in fillers.FILLERS or (setting and field is None):
        raise ParseError(
            f"{text!r} is no filler to compare with; msra, msra:auto, msra:0.25, "
            "xavier, gaussian:0.01, constant:0 are"
        )
    if setting and field:
        try:
            setattr(filler, field, float(setting))
        except ValueError:
            raise ParseError(f"{text!r}: {setting!r} is no number") from None
    return Variant(text, filler)


def refill(graph: Graph, variant: Variant, weights: Weights | None = None) -> Graph:
    """The net with these fillers for its weights; those of bilinear upsampling stay."""
    if variant.filler is not None:
        nodes = tuple(_refilled(node, variant.filler) for node in graph.nodes)
        graph = replace(graph, nodes=nodes)
    return apply(graph, resolve(graph, weights)) if variant.slopes else graph


def _refilled(node: Node, filler: FillerParameter) -> Node:
    if not is_weighted(node):
        return node
    weight, *biases = node.blobs
    if weight.filler is not None and weight.filler.type == "bilinear":
        return node
    node = replace(node, blobs=(Blob(weight.name, weight.shape, filler), *biases))
    return _with_proto(node, lambda proto: proto.ClearField("blobs"))


def replace_layers(graph: Graph, change: Callable[[LayerParameter], object]) -> Graph:
    """The net with each layer made anew from its message, once `change` was at it."""
    return replace(graph, nodes=tuple(_with_proto(node, change) for node in graph.nodes))


def _with_proto(node: Node, change: Callable[[LayerParameter], object]) -> Node:
    proto = LayerParameter()
    proto.CopyFrom(node.layer.proto)
    change(proto)
    return node if proto == node.layer.proto else replace(node, layer=type(node.layer)(proto))


def _with_batch_statistics(proto: LayerParameter) -> None:
    if proto.type == "BatchNorm":
        proto.batch_norm_param.use_global_stats = False
