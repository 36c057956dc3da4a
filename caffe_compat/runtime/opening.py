"""Open onnxruntime's sessions: on the first device that starts, with the model prepared for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from ..errors import CaffeCompatError, DeviceError
from ..net.net import Net
from ..onnx import writer
from ..onnx.lowering import Lowered
from ..onnx.passes import gpu, suppression
from ..onnx.passes.cpu import tune
from ..weights import mapped
from .cutting import reads
from .devices import Device, log_once, runtime
from .float16 import multiplies_in_float16
from .models import open_model, resolve
from .placement import check_random, check_recordable
from .tensorrt import keep_engines


def open_session(
    model: Net | Lowered | str | Path | bytes,
    blobs: Sequence[str],
    threads: int,
    choices: Sequence[Device],
    *,
    fuse: bool = True,
) -> tuple[Any, Device]:
    """Open a session on the first of the devices that starts, with the model prepared for it.

    Args:
        model: as Session takes it.
        blobs: blobs to return beside the model's own outputs.
        threads: the number of threads that one operator may use.
        choices: the devices by preference.
        fuse: let cuDNN add the bias within a convolution, where that is faster.

    Returns:
        The session, and the device with the options that suit the model.

    Raises:
        DeviceError: no device starts, or onnxruntime cannot load the model there.
    """
    *firsts, last = choices
    for choice in firsts:
        try:
            return _start(model, blobs, threads, choice, fuse)
        except DeviceError as error:  # noqa: PERF203  # devices are few, and slow to start
            log_once(f"device auto: {error}; trying the next")
    return _start(model, blobs, threads, last, fuse)


def _start(
    model: Net | Lowered | str | Path | bytes,
    blobs: Sequence[str],
    threads: int,
    device: Device,
    fuse: bool,
) -> tuple[Any, Device]:
    device.check()
    on_cpu = device.kind == "cpu"
    source = resolve(model, blobs, on_cpu=on_cpu)
    name = source if isinstance(source, str) else "the model"
    if isinstance(model, str | Path):
        name = str(model)
        device = keep_engines(device, Path(model))
    if isinstance(source, Lowered):
        mapped.check(source.arrays.values())
        source = _prepare(source, device.kind)
    if device.on_gpu:
        device = _fit(device, source, fuse)
    if device.kind == "openvino":
        source = _read_first(source)
    options = runtime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # its exceptions repeat what it would print
    source, values = _source(source, options)
    try:
        session = device.start(source, options)
    except DeviceError:
        raise
    except Exception as error:  # onnxruntime raises a dozen types of its own
        if on_cpu:
            raise CaffeCompatError(f"{name}: onnxruntime cannot load it: {error}") from error
        raise DeviceError(
            f"device '{device.name}': onnxruntime cannot load {name}: {error}"
        ) from error
    del values  # onnxruntime reads them in place until the session stands
    if device.provider not in session.get_providers():
        raise DeviceError(
            f"device '{device.name}': onnxruntime could not start {device.provider}, and gives no "
            f"cause; it would run on {', '.join(session.get_providers())}"
        )
    return session, device


def _fit(device: Device, source: Lowered | str | bytes, fuse: bool) -> Device:
    """Return a GPU with options that suit the model.

    Raises:
        UnsupportedError: no CUDA graph can record it.
        DeviceError: TensorRT would not draw what it draws.
    """
    lowered = _opened(source)
    if lowered is None:
        return device
    if device.records:
        check_recordable(lowered)
    if device.kind == "tensorrt":
        check_random(lowered)
    if not multiplies_in_float16(lowered):
        return device
    graph = lowered.model.graph
    # The index of a max is that within the plane, whichever the layout.
    indexed = any(node.op_type == "MaxPool" and len(node.output) > 1 for node in graph.node)
    # For every other shape cuDNN would compile for seconds again.
    dims = [dim for value in graph.input for dim in value.type.tensor_type.shape.dim]
    fixed = all(dim.HasField("dim_value") for dim in dims)
    return device.with_tensor_cores(channels_last=not indexed, fuse=fuse and fixed)


def _opened(source: Lowered | str | bytes) -> Lowered | None:
    """Return the model, or None where it cannot be read: onnxruntime's own message is better."""
    try:
        return source if isinstance(source, Lowered) else open_model(source)
    except CaffeCompatError:
        return None


def _prepare(model: Lowered, kind: str) -> Lowered:
    """Return a model in memory in the operators that are fast on a kind of device."""
    if kind == "cpu":
        return tune(model)
    return suppression.compare_pairs(gpu.fit(model)) if kind == "cuda" else model


def _read_first(source: Lowered | str | bytes) -> Lowered | str | bytes:
    """Return a model whose first inputs are those that it reads.

    OpenVINO's provider takes inputs by their place, and counts those alone that are read.
    """
    lowered = _opened(source)
    if lowered is None:
        return source
    graph = lowered.model.graph
    read = {value.name for value in graph.output}.union(*map(reads, graph.node))
    inputs = sorted(graph.input, key=lambda value: value.name not in read)
    if inputs == [*graph.input]:
        return source
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return replace(lowered, model=model)


def _source(model: Lowered | str | bytes, options: Any) -> tuple[str | bytes, list[Any]]:
    """Return what InferenceSession opens, and the weights that `options` point to."""
    if not isinstance(model, Lowered):
        return model, []
    shell, large = writer.shell(model)
    values = [runtime().OrtValue.ortvalue_from_numpy(array) for array in large.values()]
    options.add_external_initializers(list(large), values)
    return shell, [*values, *large.values()]
