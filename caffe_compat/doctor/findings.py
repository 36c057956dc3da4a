"""The findings about a net's initialisation: one for each cause, with remedies that were measured.

The measured signals decide whether anything is wrong at all; the fillers then tell why, and the
smallest change to them that mends the measurements is the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from . import symptoms
from .causes import Cause, all_right, find_causes, normalised, unpadded
from .finding import Finding, Severity
from .flow import HIGH, Flow, Loss, distance
from .patient import OFF, Patient
from .remedies import Remedy, Trial, effects, first_that_mends

SHALLOW = 8  # layers up to which a net trains from nearly any variance (He et al. 2015, 2.2)
_FAR = 100.0  # times above or below 1 at which fillers that could be better are reported


def find(patient: Patient) -> tuple[Finding, ...]:
    """Return all findings in the order of the harm."""
    lost = patient.flow.losses()
    found: list[Finding] = []
    after = patient.flow
    if lost:
        finding, mended = _explain(patient, lost)
        found.append(finding)
        after = mended or patient.flow
    else:
        found += _improvements(patient)
    found += symptoms.find(patient, after)
    order = ("severe", "warning", "note")
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def _explain(patient: Patient, lost: Sequence[Loss]) -> tuple[Finding, Flow | None]:
    """Return the finding of a signal that is lost, and the measurements with its remedy."""
    causes = find_causes(patient)
    whole = all_right(patient)
    together = Trial("all of these", {k: v for c in causes for k, v in _last(c).fillers.items()})
    ways = [way for cause in causes for way in cause.remedies]
    trial, _, tried = first_that_mends(
        patient, [*ways, together, whole, unpadded(patient), normalised(patient)]
    )
    cause = next((c for c in causes if trial in c.remedies), None)
    said = "; ".join(_say(loss, patient.flow.depth) for loss in lost)
    worst = max(lost, key=lambda loss: distance(loss.share))
    rule: str = cause.rule if cause else worst.way
    layers: tuple[str, ...] = tuple(dict.fromkeys(loss.layer for loss in lost))
    if cause:
        said += f"; {cause.message}"
        layers = patient.names(cause.layers)
    elif causes:
        said += "; " + "; ".join(c.message for c in causes[:3])
    remedy, after = None, None
    if trial:
        after = patient.measure(trial.apply(patient.net.graph), 0)
        remedy = Remedy(trial.changes(patient.net.graph), effects(patient.flow, after))
    elif tried:
        said += f"; no remedy mends it: {tried}"
    elif not patient.drawn:
        said += "; no filler drew these weights, so that none can be changed"
    number = cause.number if cause else worst.share
    return Finding(rule, _severity(patient, lost), layers, number, said, remedy), after


def _last(cause: Cause) -> Trial:
    return cause.remedies[-1]


def _say(loss: Loss, depth: int) -> str:
    what = "exploding" if loss.share > HIGH else "vanishing"
    share = f"{loss.share:.1e}" if loss.share else "0"
    if loss.way == "forward":
        said = f"signal {what}: Var[y] of {loss.layer} is {share} of the input's mean square"
    else:
        said = f"gradient {what}: its sum of squares at {loss.layer} is {share} of that at the end"
    return f"{said}, at depth {loss.depth} of {depth}"


def _severity(patient: Patient, lost: Sequence[Loss]) -> Severity:
    hopeless = patient.flow.depth > SHALLOW or any(not 0 < loss.share < inf for loss in lost)
    trained = any(loss.layer in patient.from_file for loss in lost)
    return "severe" if hopeless and not trained else "warning"


def _improvements(patient: Patient) -> Iterator[Finding]:
    """Yield the causes whose removal brings a signal that is alive much nearer to 1."""
    far = max(map(distance, patient.flow.arrivals()))
    for cause in find_causes(patient):
        slow = cause.rule not in ("slope", "fan")
        if slow and (far < _FAR or patient.flow.depth <= SHALLOW):
            continue
        for trial in cause.remedies[::-1]:
            after = patient.measure(trial.apply(patient.net.graph), 0)
            if _helps(patient.flow, after, _FAR if slow else 2 * OFF):
                remedy = Remedy(trial.changes(patient.net.graph), effects(patient.flow, after))
                layers = patient.names(cause.layers)
                yield Finding(cause.rule, "warning", layers, cause.number, cause.message, remedy)
                break


def _helps(before: Flow, after: Flow, least: float) -> bool:
    """Return whether the signals change by a factor of `least`, and for the better."""
    if after.losses():
        return False
    old, new = before.arrivals(), after.arrivals()
    moved = max(distance(a / b) if b else inf for a, b in zip(old, new, strict=True))
    nearer = max(map(distance, new)) < max(map(distance, old))
    return moved >= (OFF if least < _FAR else 10.0) and nearer
