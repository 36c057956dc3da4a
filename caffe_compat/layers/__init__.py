"""One module per family of layers; each registers its types when `layer.registry` imports it."""
