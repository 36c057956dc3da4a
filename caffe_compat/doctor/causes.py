"""Causes of what is wrong with a net's fillers, and the fillers that would remove each.

He et al. 2015 is "Delving Deep into Rectifiers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import fillers
from ..caffe_pb2 import FillerParameter
from ..fillers.moments import second_moment
from ..net.fans import true_n
from ..net.residual import Branches, std_by_node
from ..net.sharing import Place
from .patient import OFF, Patient, filler_with, type_of
from .remedies import Trial, hidden

_LINEAR = 0.8  # of the variance: as much passes no rectifier of a slope that is in use
_HEAVY = 10.0  # times the variance of a layer's output that its biases' square may be


@dataclass(frozen=True)
class Cause:
    """Fillers that are wrong for one reason.

    Attributes:
        rule: its name, one word.
        layers: the indices of the layers concerned.
        number: the computed number in the message.
        message: one clause.
        remedies: the ways to remove it.
    """

    rule: str
    layers: tuple[int, ...]
    number: float
    message: str
    remedies: tuple[Trial, ...]


def find_causes(patient: Patient) -> tuple[Cause, ...]:
    """Return the causes that there may be, whether the signal suffers from them or not."""
    wrong = {i: patient.factor(i) for i in patient.drawn if _is_wrong(patient, i)}
    biased = _biased(patient)
    fans = {i: f for i, f in wrong.items() if _counts_others(patient, i)}
    branches = {i: f for i, f in wrong.items() if i in patient.shares and i not in fans and f > 1}
    rest = {i: f for i, f in wrong.items() if i not in fans and i not in branches}
    causes = [*_fan(patient, fans), *_residual(patient, branches), *_bias(patient, biased)]
    kinds = {i: _kind(patient, i) for i in rest}
    for kind in dict.fromkeys(kinds.values()):
        causes += _of_type(patient, kind, {i: f for i, f in rest.items() if kinds[i] == kind})
    return tuple(causes)


def all_right(patient: Patient) -> Trial:
    """Return the trial that gives every drawn layer the filler that keeps the variance."""
    return Trial("the right std everywhere", right_fillers(patient, patient.drawn))


def normalised(patient: Patient) -> Trial:
    """Return the trial that puts a BatchNorm behind every layer with weights but the last."""
    return Trial("BatchNorm behind every layer", {}, hidden(patient))


def unpadded(patient: Patient) -> Trial:
    """Return the trial in which n counts what lies inside the picture alone.

    Padding takes a part of the variance at each layer, which tells on small pictures.
    """
    stds = std_by_node(patient.net.graph, inside=True)
    fillers = {
        (index, 0): FillerParameter(type="gaussian", std=float(f"{stds[index]:.6g}"))
        for index in patient.drawn
        if stds[index] > 0
    }
    return Trial("an n without the padding", fillers)


def right_fillers(patient: Patient, indices: Sequence[int]) -> dict[Place, FillerParameter]:
    """Return the fillers that keep the variance at these layers."""
    return {
        (index, 0): filler_with(patient.stds[index], patient.nodes[index])
        for index in indices
        if patient.stds[index] > 0
    }


def _is_wrong(patient: Patient, index: int) -> bool:
    """Return whether a layer's variance is wrong and matters.

    It does not before a normalisation; nor does a small last layer, or 2 instead of 1 at the first.
    """
    factor, node, flow = patient.factor(index), patient.nodes[index], patient.flow
    if node.tops[0].name in flow.tamed or (index in flow.heads and factor < 1):
        return False
    if type_of(node) == "msra" and index not in patient.shares:
        first = not flow.depths[node.bottoms[0].name] and factor < 2 * OFF
        return abs(factor - 1) > 0.01 and not (first and factor > 1 / OFF)
    return not 1 / OFF < factor < OFF


def _kind(patient: Patient, index: int) -> str:
    """Return the type of a filler; `linear` of msra where no rectifier halves anything."""
    kind, node = type_of(patient.nodes[index]), patient.nodes[index]
    passed = 1 / (patient.stds[index] ** 2 * true_n(node) or 1.0)
    return "linear" if kind == "msra" and passed > _LINEAR else kind


def _counts_others(patient: Patient, index: int) -> bool:
    node = patient.nodes[index]
    if type_of(node) not in ("msra", "xavier"):
        return False
    blob = node.blobs[0]
    norm = blob.filler.variance_norm if blob.filler else 0
    return not 1 / OFF < float(fillers.fan(blob.shape, norm)) / true_n(node, norm) < OFF


def _fan(patient: Patient, wrong: Mapping[int, float]) -> Iterator[Cause]:
    if not wrong:
        return
    first = min(wrong)
    node = patient.nodes[first]
    blob = node.blobs[0]
    assert blob.filler is not None
    norm = blob.filler.variance_norm
    caffe, true = float(fillers.fan(blob.shape, norm)), true_n(node, norm)
    kind = _a(node.layer.proto.type)
    message = (
        f"{blob.filler.type} counts n = {caffe:g} for {node.layer.name}, {kind} "
        f"that has {true:g}: its variance is {true / caffe:.3g} of the intended one"
    )
    yield Cause("fan", tuple(wrong), caffe / true, message, _ways(patient, "the true n", wrong))


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'AEIOU' else 'a'} {word}"


def _residual(patient: Patient, wrong: Mapping[int, float]) -> Iterator[Cause]:
    """Find branches that add more to their trunk than their depth allows."""
    if not wrong:
        return
    branches = Branches(patient.net.graph)
    series, share = branches.series, _added(patient, branches, wrong)
    scaled = {
        (index, 0): FillerParameter(type="gaussian", std=_scaled(patient, index)) for index in wrong
    }
    message = (
        f"{len(wrong)} branches, which each add {share:.2g} times what their trunk carries: "
        f"{series} sums in series multiply it by {(1 + share) ** series:.1e}"
    )
    yield Cause(
        "residual",
        tuple(wrong),
        share,
        message,
        (
            Trial("each branch's last std by 1/sqrt(L)", scaled),
            *_ways(patient, "the branches' last std", wrong),
        ),
    )


def _added(patient: Patient, branches: Branches, wrong: Mapping[int, float]) -> float:
    """Return what sums add to their trunk's mean square, over it: the median of those measured."""
    moments, added = patient.flow.stats.moments, []
    for branch in branches.all:
        trunk = moments.get(branch.trunk, 0.0)
        if trunk and not wrong.keys().isdisjoint(branch.last):
            bottoms = patient.nodes[branch.sum].bottoms
            added.append(sum(moments[v.name] for v in bottoms if v.name != branch.trunk) / trunk)
    return sorted(added)[len(added) // 2] if added else 0.0


def _scaled(patient: Patient, index: int) -> float:
    """Return a filler's own std by 1/√L."""
    own = patient.factor(index) ** 0.5 * patient.stds[index]
    return float(f"{own * patient.shares[index] ** 0.5:.6g}")


def _of_type(patient: Patient, kind: str, wrong: Mapping[int, float]) -> Iterator[Cause]:
    if not wrong:
        return
    worst = max(wrong, key=lambda i: max(wrong[i], 1 / wrong[i]) if wrong[i] else float("inf"))
    factor, count, node = wrong[worst], len(wrong), patient.nodes[worst]
    # The first layer follows no rectifier, so that many others may have another factor.
    usual = sorted(wrong.values())[count // 2]
    series = min(count, patient.flow.depth)
    over = f", and {series} of them {usual**series:.1e}" if series > 1 and usual else ""
    if kind == "zero":
        message = "the weights are all 0, as they are without a weight_filler"
    elif kind == "xavier" and 0.4 < usual < 1:
        factor = usual
        message = f"xavier before a rectifier: each layer keeps {usual:.2g} of the variance{over}"
    elif kind == "linear":
        factor = usual
        message = (
            "msra doubles what its rectifier is to halve, and no rectifier halves it here: behind "
            f"a sum of rectified values, or behind none, each layer multiplies the variance by "
            f"{usual:.3g}"
        )
    elif kind == "msra":
        factor = usual
        message = (
            f"msra without the slope of its rectifier: each layer multiplies the variance by "
            f"{usual:.3g}{over}"
        )
    else:
        blob = node.blobs[0]
        std = f" of std {blob.filler.std:g}" if blob.filler and kind == "gaussian" else ""
        message = (
            f"{kind}{std}, where {node.layer.name} keeps the variance with a std of "
            f"{patient.stds[worst]:.3g}: it multiplies it by {factor:.2g}"
        )
    rule = {"msra": "slope"}.get(kind, kind)
    yield Cause(
        rule, tuple(sorted(wrong)), factor, message, _ways(patient, f"{kind} mended", wrong)
    )


def _biased(patient: Patient) -> tuple[int, ...]:
    """Return the layers whose biases outweigh what their weights let through."""
    biased = []
    for index in patient.drawn:
        node = patient.nodes[index]
        filler = node.blobs[1].filler if len(node.blobs) > 1 else None
        if filler is None or node.owners[1] != (index, 1):
            continue
        moment = second_moment(node.blobs[1].shape, filler) or 0.0
        if moment > _HEAVY * (patient.flow.stats.variances[node.tops[0].name] or patient.flow.unit):
            biased.append(index)
    return tuple(biased)


def _bias(patient: Patient, biased: Sequence[int]) -> Iterator[Cause]:
    if not biased:
        return
    node = patient.nodes[biased[0]]
    filler = node.blobs[1].filler
    moment = (second_moment(node.blobs[1].shape, filler) or 0.0) ** 0.5
    none = {(index, 1): FillerParameter(type="constant") for index in biased}
    message = f"biases of {moment:.3g} outweigh what the weights let through"
    yield Cause("bias", tuple(biased), moment, message, (Trial("biases of 0", none),))


def _ways(patient: Patient, name: str, wrong: Mapping[int, float]) -> tuple[Trial, ...]:
    """Return the right fillers on the trunk alone, and on all of these layers."""
    inside = Branches(patient.net.graph).inside
    trunk = [index for index in wrong if index not in inside]
    ways = [trunk, [*wrong]] if trunk and len(trunk) < len(wrong) else [[*wrong]]
    return tuple(Trial(name, right_fillers(patient, way)) for way in ways)
