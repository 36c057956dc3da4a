"""Running with onnxruntime: devices, sessions, verification, float16 and int8."""
