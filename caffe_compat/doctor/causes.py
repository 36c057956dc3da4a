"""Rules about the fillers of a net and its other settings.

A rule takes the patient and its signals, and yields findings. He et al. 2015 is "Delving Deep
into Rectifiers".
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..caffe_pb2 import FillerParameter
from ..layers.families.conv import Convolution, Deconvolution
from ..layers.families.dense import InnerProduct
from ..layers.families.rectifier import PReLU
from ..layers.layer import canonical_axis
from ..layers.spatial import conv_window
from ..net.graph import Node
from ..net.slopes import Resolved, decayed
from .patient import OFF, Finding, Patient, Severity, factor_of, remedy
from .symptoms import SHALLOW, Signals, backward, forward

_HALVED = 10  # layers after which halving leaves less than a thousandth


def halving(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find xavier's fillers, which ignore rectifiers, in a deep net of rectifiers."""
    deep = depth_of(signals)
    rectified = [(node, each) for _, node, each in patient.drawn("xavier") if _rectifies(each)]
    if deep < _HALVED:
        return
    for node, each in rectified:
        factor = factor_of(node, each)
        yield Finding(
            "xavier",
            severity_of(patient, signals),
            (node.layer.name,),
            factor,
            f"xavier before a rectifier: each layer keeps {factor:.2g} of the variance, and "
            f"{len(rectified)} of them {factor ** len(rectified):.1e}",
            remedy(each),
        )


def slopeless(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find msra's fillers with another slope than the rectifier's."""
    for _, node, each in patient.drawn("msra"):
        growth = factor_of(node, each)
        if _rectifies(each) and abs(growth - 1) > 0.01:
            yield Finding(
                "slope",
                "warning",
                (node.layer.name,),
                growth,
                f"msra without the slope of its rectifier: each such layer multiplies the variance "
                f"by {growth:.3g}",
                remedy(each),
            )


def plain(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find gaussians of one std for layers of any size, in a deep net."""
    if depth_of(signals) <= SHALLOW:
        return
    for _, node, each in patient.drawn("gaussian"):
        factor = factor_of(node, each)
        if not 1 / OFF < factor < OFF:
            yield Finding(
                "gaussian",
                severity_of(patient, signals),
                (node.layer.name,),
                factor,
                f"gaussian of std {each.filler.std:g}, where {float(each.sigma):.3g} preserves "
                f"the variance: it multiplies it by {factor:.2g}",
                remedy(each),
            )


def zeros(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find weights that are 0: they pass no signal and no gradient."""
    for index, each in patient.resolved.items():
        node, weight = patient.net.graph.nodes[index], patient.net.arrays[index][0]
        if weight.size and not weight.any():
            source = "in the file" if node.layer.name in patient.from_file else "by its filler"
            message = f"all weights are 0 {source}"
            yield Finding("zero", "severe", (node.layer.name,), 0.0, message, remedy(each))


def decaying(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find PReLU slopes under weight decay, which makes them ReLUs (He et al. §2)."""
    names = decayed(patient.written)
    for node in patient.written.nodes:
        if node.layer.name in names and isinstance(node.layer, PReLU):
            specs = node.layer.proto.param
            rate = specs[0].decay_mult if specs else 1.0
            yield Finding(
                "decay",
                "warning",
                (node.layer.name,),
                rate,
                f"PReLU under weight decay (decay_mult {rate:g}), which pulls its slopes to 0",
                "param { decay_mult: 0 }",
            )


def fans(patient: Patient, signals: Signals) -> Iterator[Finding]:
    """Find fillers that count other connections than the layer has."""
    for _, node, each in patient.drawn("msra", "xavier"):
        true = _true_n(node, each.filler.variance_norm)
        if true is None or 1 / OFF < each.n / true < OFF:
            continue
        sigma = float(each.sigma) * (each.n / true) ** 0.5
        kind = node.layer.proto.type
        yield Finding(
            "fan",
            "warning",
            (node.layer.name,),
            each.n / true,
            f"{each.filler.type} counts n = {each.n:g} for a {kind} that has {true:g}: the "
            f"variance is {true / each.n:.3g} of the intended one",
            f'weight_filler {{ type: "gaussian" std: {sigma:.6g} }}',
        )


def depth_of(signals: Signals) -> int:
    """Return the number of layers with weights on the net's longest path."""
    return max((signal.depth for signal in signals), default=0)


def severity_of(patient: Patient, signals: Signals) -> Severity:
    """Return severe if the measured signals are lost."""
    lost = [*forward(patient, signals), *backward(patient, signals)]
    return "severe" if any(finding.severity == "severe" for finding in lost) else "warning"


def _rectifies(each: Resolved) -> bool:
    return any(r.layers and 1 <= r.gain < 2 for r in each.rectifiers)


def _true_n(node: Node, norm: int) -> float | None:
    """Return the n that a filler should divide by, for layers where Caffe's count differs."""
    layer, shape = node.layer, node.blobs[0].shape
    if isinstance(layer, InnerProduct):
        if not layer.p.transpose:
            return None
        inputs, outputs = float(shape[0]), float(shape[1])
    elif isinstance(layer, Convolution) and (isinstance(layer, Deconvolution) or layer.p.group > 1):
        x = node.bottoms[0].shape
        window = conv_window(layer.p, len(x) - canonical_axis(layer.p.axis, len(x)) - 1)
        near, far = shape[1] * prod(shape[2:]), shape[0] / layer.p.group * prod(shape[2:])
        far /= prod(window.stride)
        inputs, outputs = (far, near) if isinstance(layer, Deconvolution) else (near, far)
    else:
        return None
    if norm == FillerParameter.AVERAGE:
        return (inputs + outputs) / 2
    return outputs if norm == FillerParameter.FAN_OUT else inputs
