"""Rules about the measured signals of a net.

A rule takes the patient and its signals, and yields findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TypeAlias

import numpy as np

from .. import fillers
from ..layers.layer import canonical_axis
from ..net.graph import Node
from ..net.net import Net
from ..types import Array
from .patient import Finding, Patient, Severity, is_right, remedy
from .signals import Signal, run

Signals: TypeAlias = Sequence[Signal]

LOW, HIGH = 1e-3, 1e3
SHALLOW = 8  # layers up to which a net trains from nearly any variance (He et al. §2.2)
_CONFIDENT = 0.8  # the mean probability of a softmax's first choice, above which it hardly learns
_CERTAIN = 0.95
_DEAD = 0.6  # half of the channels are 0 in any deep net of random weights
_READERS = ("Data", "ImageData", "MemoryData", "WindowData")


def forward(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find the layer where the signal leaves [1e-3, 1e3] on its way forward."""
    weighted = [signal for signal in signals if signal.weighted]
    for signal in weighted:
        share = signal.forward / patient.moment
        if not LOW <= share <= HIGH:
            at = (
                f"Var[y] is {share:.1e} of the input's mean square at depth {signal.depth} of "
                f"{weighted[-1].depth}"
            )
            yield _lost(patient, signal, share, weighted[-1].depth, "forward", at)
            return


def backward(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find the layer where the gradient leaves [1e-3, 1e3] on its way back."""
    weighted = [signal for signal in signals if signal.weighted and signal.gradient is not None]
    for signal in reversed(weighted):
        if signal.gradient is not None and not LOW <= signal.gradient <= HIGH:
            at = (
                f"the gradient's sum of squares is {signal.gradient:.1e} of that at the net's end, "
                f"at depth {signal.depth} of {weighted[-1].depth}"
            )
            yield _lost(patient, signal, signal.gradient, weighted[-1].depth, "backward", at)
            return


def _lost(patient: Patient, signal: Signal, share: float, depth: int, way: str, at: str) -> Finding:
    what = "exploding" if share > HIGH else "vanishing"
    signal_or = "signal" if way == "forward" else "gradient"
    hopeless = depth > SHALLOW or not 0 < share < inf
    severity: Severity = (
        "severe" if hopeless and signal.layer not in patient.from_file else "warning"
    )
    message = f"{signal_or} {what}: {at}"
    return Finding(way, severity, (signal.layer,), share, message, _steadier(patient, signal.layer))


def _steadier(patient: Patient, name: str) -> str:
    """Return the remedy at a layer: the filler of the right std, or else a BatchNorm."""
    for _, node, each in patient.drawn(*fillers.FILLERS):
        if node.layer.name == name and not is_right(node, each):
            return remedy(each)
    top = next(n.tops[0].blob for n in patient.net.graph.nodes if n.layer.name == name)
    return f'layer {{ name: "{name}_bn" type: "BatchNorm" bottom: "{top}" top: "{top}" }}'


def dead(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find rectifiers that are 0 for every input."""
    for signal in signals:
        if signal.dead is not None and signal.dead >= _DEAD:
            yield Finding(
                "dead",
                "severe" if signal.dead == 1 else "warning",
                (signal.layer,),
                signal.dead,
                f"dead rectifiers: {signal.dead:.0%} of the channels are 0 everywhere",
                "relu_param { negative_slope: 0.1 }",
            )


def saturated(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find a softmax that is confident before training, since the input is not normalised."""
    if patient.from_file:
        return
    for node, feeds in _raw_inputs(patient):
        confidence = _confidence(patient.net, feeds)
        if confidence is not None and confidence > _CONFIDENT:
            moment = np.mean(np.square(feeds[node.tops[0].blob], dtype=np.float64))
            yield Finding(
                "saturated",
                "severe" if confidence > _CERTAIN else "warning",
                (node.layer.name,),
                confidence,
                f"input not normalised: its mean square of {moment:.3g} saturates the softmax, "
                f"whose first choice has a probability of {confidence:.3f} before any training",
                "transform_param { mean_value: 127.5 scale: 0.0078125 }",
            )


def _raw_inputs(patient: Patient) -> Iterator[tuple[Node, dict[str, Array]]]:
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
            yield node, patient.feeds | {first: pixels}


def _confidence(net: Net, feeds: dict[str, Array]) -> float | None:
    """Return the mean probability of the first choice over all softmaxes, None without any."""
    softmaxes = [n for n in net.graph.nodes if n.layer.type in ("Softmax", "SoftmaxWithLoss")]
    if not softmaxes:
        return None
    values = run(net, feeds)
    confidence = []
    for node in softmaxes:
        x = values[node.bottoms[0].name].astype(np.float64)
        axis = canonical_axis(node.layer.proto.softmax_param.axis, x.ndim)
        with np.errstate(all="ignore"):
            powers = np.exp(x - x.max(axis=axis, keepdims=True))
            confidence.append(float(np.nan_to_num(np.mean(1 / powers.sum(axis=axis)), nan=1.0)))
    return sum(confidence) / len(confidence)
