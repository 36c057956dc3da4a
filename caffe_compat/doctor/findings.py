"""All findings about a net's initialisation, with their remedies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from . import causes, symptoms
from .patient import Finding, Patient
from .symptoms import Signals

Rule: TypeAlias = Callable[[Patient, Signals], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    symptoms.forward,
    symptoms.backward,
    causes.zeros,
    symptoms.saturated,
    causes.halving,
    causes.plain,
    causes.slopeless,
    symptoms.dead,
    causes.decaying,
    causes.fans,
)


def find(patient: Patient, signals: Signals) -> tuple[Finding, ...]:
    """Return the findings of all rules, the severe first; equal ones of several layers as one."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for rule in RULES:
        for finding in rule(patient, signals):
            key = (finding.rule, finding.remedy, f"{finding.number:.3g}")
            groups.setdefault(key, []).append(finding)
    order = ("severe", "warning", "note")
    merged = [_merge(same) for same in groups.values()]
    return tuple(sorted(merged, key=lambda finding: order.index(finding.severity)))


def _merge(same: Sequence[Finding]) -> Finding:
    layers = tuple(dict.fromkeys(name for finding in same for name in finding.layers))
    one = same[0]
    return Finding(one.rule, one.severity, layers, one.number, one.message, one.remedy)
