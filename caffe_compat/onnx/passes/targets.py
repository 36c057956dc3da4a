"""Fit models to their readers: what a reader lacks is written another way, or refused by name."""

from __future__ import annotations

from typing import Literal, get_args

from ...errors import UnsupportedError
from ...net.net import Net
from ..lowering import Lowered
from . import gpu, opencv, suppression, tensorrt, webgpu

Target = Literal["onnxruntime", "opencv", "cuda", "tensorrt", "webgpu"]
TARGETS: tuple[Target, ...] = get_args(Target)


def fit(lowered: Lowered, net: Net, target: Target) -> Lowered:
    """Return the model in a form that the target reads and computes exactly.

    Args:
        lowered: the net as ONNX.
        net: the net, for its layers' names.
        target: the reader of the model: onnxruntime anywhere, or on one kind of GPU; OpenCV 5.

    Raises:
        UnsupportedError: the target is unknown, or cannot compute layers; all are named.
    """
    if target not in TARGETS:
        raise UnsupportedError(f"target is '{target}'; it is one of {', '.join(TARGETS)}")
    if target == "opencv":
        return opencv.fit(lowered, net)
    if target == "webgpu":
        return webgpu.fit(lowered)
    if target == "tensorrt":
        return tensorrt.fit(lowered, net)
    return lowered if target == "onnxruntime" else gpu.fit(lowered)


def finish(lowered: Lowered, target: Target) -> Lowered:
    """Return the model with what is for a target and follows every other pass.

    The suppression of boxes by pairs stays in float32, which a pass to float16 would change.
    """
    return suppression.compare_pairs(lowered) if target == "cuda" else lowered
