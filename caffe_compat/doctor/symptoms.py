"""Other findings of the measurements: dead rectifiers, a saturated softmax, slopes under decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..caffe_pb2 import FillerParameter
from ..layers.axes import canonical_axis
from ..layers.families.rectifier import PReLU
from ..net.fans import is_weighted
from ..net.graph import Graph, Node
from ..net.net import Net
from ..net.slopes import decayed
from ..types import Array
from .finding import Finding, Severity
from .flow import Flow
from .patient import Patient
from .remedies import Change, Effect, Remedy, with_proto
from .signals import run

_CONFIDENT = 0.8  # the mean probability of a softmax's first choice, above which it hardly learns
_CERTAIN = 0.95
_DEAD = 0.6  # half of the channels are 0 in any deep net of random weights
_READERS = ("Data", "ImageData", "MemoryData", "WindowData")
_SCALE, _MEAN = 0.0078125, 127.5


def find(patient: Patient, after: Flow) -> Iterator[Finding]:
    """Yield the findings.

    Args:
        patient: the net.
        after: its measurements with the remedy of what is worse, if there was something.
    """
    yield from dead(patient, after)
    yield from saturated(patient)
    yield from decaying(patient)


def dead(patient: Patient, after: Flow) -> Iterator[Finding]:
    """Find rectifiers that are 0 for every input, whatever the weights."""
    worst = {name: share for name, share in after.stats.dead.items() if share >= _DEAD}
    if not worst:
        return
    name = max(worst, key=lambda layer: worst[layer])
    changed = remedy = None
    for changed, changes in _revivals(patient, tuple(worst)):
        shares = patient.measure(changed, 0).stats.dead
        left = max((shares.get(layer, 0.0) for layer in worst), default=0.0)
        if left < _DEAD:
            effect = Effect(f"dead channels of {name}", worst[name], shares.get(name, 0.0))
            remedy = Remedy(changes, (effect,))
            break
    message = f"dead rectifiers: {worst[name]:.0%} of the channels of {name} are 0 everywhere"
    if remedy is None:
        message += "; neither biases of 0 nor a slope below 0 mends it"
    severity: Severity = "severe" if worst[name] == 1 else "warning"
    yield Finding("dead", severity, tuple(worst), worst[name], message, remedy)


def _revivals(
    patient: Patient, names: tuple[str, ...]
) -> Iterator[tuple[Graph, tuple[Change, ...]]]:
    """Yield nets in which the rectifiers may live: with biases of 0, or with a slope."""
    graph = patient.net.graph
    makers = {top.name: i for i, node in enumerate(graph.nodes) for top in node.tops}
    nodes, biased = list(graph.nodes), []
    for node in graph.nodes:
        at = makers[node.bottoms[0].name] if node.bottoms and node.layer.name in names else None
        if at is None or not is_weighted(nodes[at]) or len(nodes[at].blobs) < 2:
            continue
        weight, bias = nodes[at].blobs
        if bias.filler is not None and bias.filler != FillerParameter():
            blobs = (weight, replace(bias, filler=FillerParameter(type="constant")))
            nodes[at] = replace(nodes[at], blobs=blobs)
            biased.append(nodes[at].layer.name)
    if biased:
        line = "bias_filler { value: 0 }"
        yield replace(graph, nodes=tuple(nodes)), (Change(tuple(biased), line),)

    def lean(proto: object) -> None:
        proto.relu_param.negative_slope = 0.1  # type: ignore[attr-defined]

    leaning = tuple(
        with_proto(node, lean) if node.layer.name in names else node for node in graph.nodes
    )
    change = Change(names, "relu_param { negative_slope: 0.1 }")
    yield replace(graph, nodes=leaning), (change,)


def decaying(patient: Patient) -> Iterator[Finding]:
    """Find PReLU slopes under weight decay, which makes them ReLUs (He et al. 2015, 2.1)."""
    names = tuple(decayed(patient.written))
    rates = [
        node.layer.proto.param[0].decay_mult if node.layer.proto.param else 1.0
        for node in patient.written.nodes
        if node.layer.name in names and isinstance(node.layer, PReLU)
    ]
    if not rates:
        return
    rate = max(rates)
    message = (
        f"PReLU under weight decay (decay_mult {rate:g}), which pulls its slopes to 0 in training; "
        "no signal shows it before"
    )
    effect = Effect("decay of the slopes", rate, 0.0)
    remedy = Remedy((Change(names, "param { decay_mult: 0 }"),), (effect,))
    yield Finding("decay", "note", names, rate, message, remedy)


def saturated(patient: Patient) -> Iterator[Finding]:
    """Find a softmax that is confident before training, since the input is not normalised."""
    if patient.from_file:
        return
    for node, feeds in _raw_inputs(patient):
        confidence = _confidence(patient.net, feeds)
        if confidence is None or confidence <= _CONFIDENT:
            continue
        blob = node.tops[0].blob
        pixels = feeds[blob]
        scaled = dict(feeds) | {blob: (pixels - np.float32(_MEAN)) * np.float32(_SCALE)}
        better = _confidence(patient.net, scaled) or 0.0
        line = f"transform_param {{ mean_value: {_MEAN:g} scale: {_SCALE:g} }}"
        name = node.layer.name
        remedy = None
        if better <= _CONFIDENT:
            effect = Effect("first choice's probability", confidence, better)
            remedy = Remedy((Change((name,), line),), (effect,))
        moment = float(np.mean(np.square(pixels, dtype=np.float64)))
        message = (
            f"input not normalised: its mean square of {moment:.3g} saturates the softmax, whose "
            f"first choice has a probability of {confidence:.3f} before any training"
        )
        if remedy is None:
            message += (
                f"; pixels of mean 0 and std 1 give {better:.3f}, so the fillers are to blame"
            )
        severity: Severity = "severe" if confidence > _CERTAIN else "warning"
        yield Finding("saturated", severity, (name,), confidence, message, remedy)


def _raw_inputs(patient: Patient) -> Iterator[tuple[Node, Mapping[str, Array]]]:
    """Yield the layers whose data are bare pixels with such an input, or with the caller's own."""
    graph = patient.net.graph
    for node in graph.nodes:
        p = node.layer.proto.transform_param
        first = node.tops[0].blob if node.tops else ""
        if patient.own_data and graph.inputs[0] in node.tops:
            yield node, patient.feeds
        elif node.layer.type in _READERS and p.scale == 1 and not (p.mean_value or p.mean_file):
            rng = np.random.default_rng(0)
            pixels = rng.integers(0, 256, node.tops[0].shape).astype(np.float32)
            yield node, dict(patient.feeds) | {first: pixels}


def _confidence(net: Net, feeds: Mapping[str, Array]) -> float | None:
    """Return the mean probability of the first choice over all softmaxes, None without any."""
    softmaxes = [n for n in net.graph.nodes if n.layer.type in ("Softmax", "SoftmaxWithLoss")]
    if not softmaxes:
        return None
    values = run(net, feeds, [node.bottoms[0] for node in softmaxes])
    confidence = []
    for node in softmaxes:
        x = values[node.bottoms[0].name].astype(np.float64)
        axis = canonical_axis(node.layer.proto.softmax_param.axis, x.ndim)
        with np.errstate(all="ignore"):
            powers = np.exp(x - x.max(axis=axis, keepdims=True))
            confidence.append(float(np.nan_to_num(np.mean(1 / powers.sum(axis=axis)), nan=1.0)))
    return sum(confidence) / len(confidence)
