"""What may be wrong with a net's fillers: each cause, and the fillers that would remove it.

He et al. 2015 is "Delving Deep into Rectifiers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import fillers
from ..caffe_pb2 import FillerParameter
from ..net.fans import true_n
from ..net.residual import Branches
from .patient import OFF, Patient, filler_with, type_of
from .remedies import Trial, hidden


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
    fans = {i: f for i, f in wrong.items() if _counts_others(patient, i)}
    branches = {i: f for i, f in wrong.items() if i in patient.shares and i not in fans and f > 1}
    rest = {i: f for i, f in wrong.items() if i not in fans and i not in branches}
    causes = [*_fan(patient, fans), *_residual(patient, branches)]
    for kind in dict.fromkeys(type_of(patient.nodes[i]) for i in rest):
        causes += _of_type(
            patient, kind, {i: f for i, f in rest.items() if i in _of(patient, kind)}
        )
    return tuple(causes)


def all_right(patient: Patient) -> Trial:
    """Return the trial that gives every drawn layer the filler that keeps the variance."""
    return Trial("the right std everywhere", right_fillers(patient, patient.drawn))


def normalised(patient: Patient) -> Trial:
    """Return the trial that puts a BatchNorm behind every layer with weights but the last."""
    return Trial("BatchNorm behind every layer", {}, hidden(patient))


def right_fillers(patient: Patient, indices: Sequence[int]) -> dict[int, FillerParameter]:
    """Return the fillers that keep the variance at these layers."""
    return {
        index: filler_with(patient.stds[index], patient.nodes[index])
        for index in indices
        if patient.stds[index] > 0
    }


def _is_wrong(patient: Patient, index: int) -> bool:
    factor = patient.factor(index)
    if type_of(patient.nodes[index]) == "msra" and index not in patient.shares:
        return abs(factor - 1) > 0.01
    return not 1 / OFF < factor < OFF


def _of(patient: Patient, kind: str) -> set[int]:
    return set(patient.of_type(kind))


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
    series = Branches(patient.net.graph).series
    share = max(factor * patient.shares[index] for index, factor in wrong.items())
    scaled = {
        index: FillerParameter(type="gaussian", std=_scaled(patient, index)) for index in wrong
    }
    message = (
        f"{len(wrong)} branches, each adding up to {share:.2g} times what its trunk carries: "
        f"{series} sums in series multiply it by up to {(1 + share) ** series:.1e}"
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
    over = f", and {count} of them {usual**count:.1e}" if count > 1 and usual else ""
    if kind == "zero":
        message = "the weights are all 0: no signal passes, and no gradient"
    elif kind == "xavier":
        factor = usual
        message = f"xavier before a rectifier: each layer keeps {usual:.2g} of the variance{over}"
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


def _ways(patient: Patient, name: str, wrong: Mapping[int, float]) -> tuple[Trial, ...]:
    """Return the right fillers on the trunk alone, and on all of these layers."""
    inside = Branches(patient.net.graph).inside
    trunk = [index for index in wrong if index not in inside]
    ways = [trunk, [*wrong]] if trunk and len(trunk) < len(wrong) else [[*wrong]]
    return tuple(Trial(name, right_fillers(patient, way)) for way in ways)
