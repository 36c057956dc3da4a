"""Will a net's signals survive its depth? Measured, compared with theory, with remedies."""

from .diagnosis import Diagnosis, Run
from .examination import diagnose, examine
from .finding import Finding, say_layers
from .page import render
from .variants import Variant, refill, variant

__all__ = [
    "Diagnosis",
    "Finding",
    "Run",
    "Variant",
    "diagnose",
    "examine",
    "refill",
    "render",
    "say_layers",
    "variant",
]
