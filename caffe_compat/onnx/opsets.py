"""The versions of ONNX's operators that this package writes."""

OPSET = 18
LOWERED = range(18, 24)
"""Those that layers are lowered to."""
OPSETS = range(11, LOWERED.stop)
"""Those that files are written in; before 18, by `passes.older`."""
