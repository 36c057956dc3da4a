"""What the measured signals of a net say is wrong.

A rule takes the patient and its signals, and gives its findings.
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
SHALLOW = 8  # layers that train from nearly any variance; deeper ones do not (He et al. §2.2)
_SURE = 0.8  # the mean probability of a softmax's first choice, above which it hardly learns
_CERTAIN = 0.95
_DEAD = 0.6  # in a deep net of random weights half of the channels are
_READERS = ("Data", "ImageData", "MemoryData", "WindowData")


def forward(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """The signal leaves [1e-3, 1e3] on its way forward."""
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
    """The gradient leaves [1e-3, 1e3] on its way back."""
    weighted = [signal for signal in signals if signal.weighted and signal.kept is not None]
    for signal in reversed(weighted):
        if signal.kept is not None and not LOW <= signal.kept <= HIGH:
            at = (
                f"the gradient's sum of squares is {signal.kept:.1e} of that at the net's end, "
                f"at depth {signal.depth} of {weighted[-1].depth}"
            )
            yield _lost(patient, signal, signal.kept, weighted[-1].depth, "backward", at)
            return


def _lost(patient: Patient, signal: Signal, share: float, depth: int, way: str, at: str) -> Finding:
    what = "exploding" if share > HIGH else "vanishing"
    signal_or = "signal" if way == "forward" else "gradient"
    hopeless = depth > SHALLOW or not 0 < share < inf
    severity: Severity = "severe" if hopeless and signal.layer not in patient.loaded else "warning"
    message = f"{signal_or} {what}: {at}"
    return Finding(way, severity, (signal.layer,), share, message, _steadier(patient, signal.layer))


def _steadier(patient: Patient, name: str) -> str:
    """What keeps the variance at a layer: the filler of the right std, or else normalising."""
    for _, node, each in patient.drawn(*fillers.FILLERS):
        if node.layer.name == name and not is_right(node, each):
            return remedy(each)
    top = next(n.tops[0].blob for n in patient.net.graph.nodes if n.layer.name == name)
    return f'layer {{ name: "{name}_bn" type: "BatchNorm" bottom: "{top}" top: "{top}" }}'


def dead(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Rectifiers that are 0 whatever comes."""
    for signal in signals:
        if signal.dead is not None and signal.dead >= _DEAD:
            yield Finding(
                "dead",
                "severe" if signal.dead == 1 else "warning",
                (signal.layer,),
                signal.dead,
                f"dead rectifiers: {signal.dead:.0%} of the channels are 0 all over",
                "relu_param { negative_slope: 0.1 }",
            )


def saturated(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """A softmax that is sure before it has learnt, since the input is not normalised."""
    if patient.loaded:
        return
    for node, feeds in _raw_inputs(patient):
        sure = _confidence(patient.net, feeds)
        if sure is not None and sure > _SURE:
            moment = np.mean(np.square(feeds[node.tops[0].blob], dtype=np.float64))
            yield Finding(
                "saturated",
                "severe" if sure > _CERTAIN else "warning",
                (node.layer.name,),
                sure,
                f"input not normalised: of a mean square of {moment:.3g} it saturates the softmax, "
                f"whose first choice has a probability of {sure:.3f} before any training",
                "transform_param { mean_value: 127.5 scale: 0.0078125 }",
            )


def _raw_inputs(patient: Patient) -> Iterator[tuple[Node, dict[str, Array]]]:
    """The layers whose data are bare pixels, and such an input; or the caller's own data."""
    graph = patient.net.graph
    for node in graph.nodes:
        p = node.layer.proto.transform_param
        first = node.tops[0].blob if node.tops else ""
        if patient.given and graph.inputs[0] in node.tops:
            yield node, patient.feeds
        elif node.layer.type in _READERS and p.scale == 1 and not (p.mean_value or p.mean_file):
            rng = np.random.default_rng(0)
            pixels = rng.integers(0, 256, node.tops[0].shape).astype(np.float32)
            yield node, patient.feeds | {first: pixels}


def _confidence(net: Net, feeds: dict[str, Array]) -> float | None:
    """The mean probability of the first choice, over the net's softmaxes; None without any."""
    softmaxes = [n for n in net.graph.nodes if n.layer.type in ("Softmax", "SoftmaxWithLoss")]
    if not softmaxes:
        return None
    values = run(net, feeds)
    sure = []
    for node in softmaxes:
        x = values[node.bottoms[0].name].astype(np.float64)
        axis = canonical_axis(node.layer.proto.softmax_param.axis, x.ndim)
        with np.errstate(all="ignore"):
            powers = np.exp(x - x.max(axis=axis, keepdims=True))
            sure.append(float(np.nan_to_num(np.mean(1 / powers.sum(axis=axis)), nan=1.0)))
    return sum(sure) / len(sure)
