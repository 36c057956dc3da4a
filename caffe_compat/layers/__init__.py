"""Layers: the base class, the registry and the families."""
