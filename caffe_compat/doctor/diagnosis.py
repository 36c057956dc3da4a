"""The result of an examination: measured runs and findings, also as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from .finding import Finding
from .signals import Signal


@dataclass(frozen=True)
class Run:
    """The signals of a net under one choice of fillers.

    Attributes:
        label: its name.
        signals: the measurements layer by layer.
        forward: the signal that the last layer reads, over the mean square of the input.
        backward: the gradient's sum of squares at the first layer, over that at the last.
    """

    label: str
    signals: tuple[Signal, ...]
    forward: float
    backward: float

    @property
    def weighted(self) -> tuple[Signal, ...]:
        """The signals of the layers with weights, which make the curves."""
        return tuple(signal for signal in self.signals if signal.weighted)


@dataclass(frozen=True)
class Diagnosis:
    """The measurements of a net and the findings.

    Attributes:
        net: the net's name.
        seed: the seed of the first trial.
        trials: the number of trials.
        moment: E[x²] of what the first layers with weights read.
        runs: the net as it is written, then under the fillers to compare with.
        findings: the findings of the first run, the severe ones first.
    """

    net: str
    seed: int
    trials: int
    moment: float
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]

    @property
    def severe(self) -> bool:
        """Whether a finding will keep the net from training."""
        return any(finding.severity == "severe" for finding in self.findings)

    def to_json(self) -> str:
        """Return all of it as JSON; a number that overflowed is the string "inf"."""
        return json.dumps(_plain(asdict(self) | {"severe": self.severe}), indent=2) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
