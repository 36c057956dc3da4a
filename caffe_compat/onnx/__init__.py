"""ONNX: lowering, passes and files."""
