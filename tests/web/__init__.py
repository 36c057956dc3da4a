"""Tests in a browser: Chromium with onnxruntime-web, on WebGPU in software and on WebAssembly."""
