"""Will a net's signals survive its depth? Measured, compared with theory, with remedies."""

from .diagnosis import Diagnosis, Run
from .examination import diagnose, examine
from .page import render
from .variants import Variant, refill, variant

__all__ = ["Diagnosis", "Run", "Variant", "diagnose", "examine", "refill", "render", "variant"]
