"""Will a net's signals survive its depth? Measured, held against theory, with remedies."""

from .examination import Diagnosis, Run, Variant, examine, refill, variant

__all__ = ["Diagnosis", "Run", "Variant", "examine", "refill", "variant"]
