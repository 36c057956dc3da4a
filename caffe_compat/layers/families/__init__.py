"""The layer types, one module a family; each registers its types when imported."""
