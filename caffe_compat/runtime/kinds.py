"""The kinds of devices, and the execution providers with which onnxruntime serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Kind:
    """A row of the table of devices.

    Attributes:
        provider: onnxruntime's name of the provider.
        install: the package that has it.
        options: the provider's options that keep float32's precision.
        plugin: the module of a provider that may be a library of its own, beside onnxruntime; None
            if it is always built in.
        lacks: what it cannot do, or has not been tried with.
    """

    provider: str
    install: str
    options: Mapping[str, str] = field(default_factory=dict)
    plugin: str | None = None
    lacks: str = ""


KINDS = {
    "cpu": Kind(CPU, "caffe_compat[cpu]"),
    # TF32 rounds the factors to 10 bits; Caffe's float32 keeps 23.
    "cuda": Kind("CUDAExecutionProvider", "caffe_compat[gpu]", {"use_tf32": "0"}),
    "tensorrt": Kind(
        "TensorrtExecutionProvider",
        "caffe_compat[gpu] 'tensorrt-cu13<11'",
        lacks="builds an engine at the first run of a model, for minutes",
    ),
    "migraphx": Kind(
        "MIGraphXExecutionProvider",
        "onnxruntime-migraphx (from AMD)",
        {"migraphx_fp16_enable": "0", "migraphx_int8_enable": "0"},
        lacks="untested here",
    ),
    "rocm": Kind(
        "ROCMExecutionProvider",
        "onnxruntime-rocm (from AMD)",
        lacks="untested here; ends with onnxruntime 1.22, and migraphx follows it",
    ),
    "directml": Kind(
        "DmlExecutionProvider", "onnxruntime-directml", lacks="untested here; Windows alone"
    ),
    "coreml": Kind(
        "CoreMLExecutionProvider",
        "caffe_compat[cpu] on macOS",
        # The Neural Engine computes in float16.
        {
            "ModelFormat": "MLProgram",
            "MLComputeUnits": "CPUAndGPU",
            "AllowLowPrecisionAccumulationOnGPU": "0",
        },
        lacks="untested here",
    ),
    "qnn": Kind(
        "QNNExecutionProvider",
        "onnxruntime-qnn",
        {"backend_type": "gpu"},  # the HTP computes in float16 or in integers
        lacks="untested here",
    ),
    "openvino": Kind(
        "OpenVINOExecutionProvider",
        "onnxruntime-ep-openvino",
        {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
        plugin="onnxruntime_ep_openvino",
        lacks="onnxruntime-ep-openvino takes Intel's processors alone; no Pad with axes",
    ),
    "webgpu": Kind(
        "WebGpuExecutionProvider",
        "onnxruntime-ep-webgpu",
        plugin="onnxruntime_ep_webgpu",
        lacks="wrong for some grouped convolutions; convert with target='webgpu'",
    ),
    "nv-tensorrt-rtx": Kind(
        "NvTensorRTRTXExecutionProvider",
        "onnxruntime-ep-nv-tensorrt-rtx",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
        lacks="takes GeForce RTX alone, and no H100; untested there",
    ),
    "mlx": Kind(
        "MLXExecutionProvider",
        "onnxruntime-ep-mlx",
        plugin="onnxruntime_ep_mlx",
        lacks="untested here; Apple Silicon alone",
    ),
}
