"""ONNX: lowering, passes, files."""
