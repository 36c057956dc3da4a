"""Running with onnxruntime: devices, sessions, verification."""
