"""Layers: their base class, the registry, and the families."""
