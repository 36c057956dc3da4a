"""The layer types that a prototxt may name."""

from __future__ import annotations

from ..layers.registry import registry
from .blob import StringVec


def layer_type_list() -> StringVec:
    """Return the types that nets here may have, sorted."""
    return StringVec(sorted(registry()))
