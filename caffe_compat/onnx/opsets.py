"""The versions of ONNX's operators that this package writes."""

OPSET = 18
OPSETS = range(18, 24)
