"""The ONNX models that a session opens: from a net, a file or bytes, with further outputs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..errors import CaffeCompatError, ShapeError
from ..net.graph import Value
from ..net.net import Net
from ..net.showing import show
from ..onnx.lowering import ALIASES, Lowered, lower
from ..onnx.opsets import OPSET
from ..onnx.passes import simplify
from ..onnx.passes.cpu import is_slow
from ..onnx.reader import OutsideError, check_inside, outline
from ..options import names
from ..weights import mapped

_LARGE = 16_000_000  # bytes of an ONNX file from which onnxruntime's own parsing costs more


def resolve(
    model: Net | Lowered | str | Path | bytes, blobs: Sequence[str], *, on_cpu: bool
) -> Lowered | str | bytes:
    """Return a model in the form that opens fastest, with more outputs.

    Args:
        model: as Session takes it.
        blobs: blobs to return beside the model's own outputs, by Caffe's name.
        on_cpu: whether it will run on the CPU alone.

    Returns:
        The model with its weights apart, or where that gains nothing, the file's path or bytes.

    Raises:
        ShapeError: the model has no such blob.
        CaffeCompatError: there is no such file, or no ONNX model in it.
    """
    blobs = names(blobs)
    if isinstance(model, str | Path) and not Path(model).is_file():
        raise CaffeCompatError(f"{model}: no such file")
    if isinstance(model, Net):
        model = lower_values(*show(model, blobs))
    elif isinstance(model, str | Path) and not blobs:
        model = _outline(Path(model), on_cpu=on_cpu)
    elif blobs and not isinstance(model, Lowered):
        model = open_model(model)
    if isinstance(model, Lowered):
        return replace(model, model=_with_outputs(model.model, blobs))
    return model if isinstance(model, bytes) else str(model)


def join(lowered: Lowered) -> onnx.ModelProto:
    """Return a copy of the model with its weights inside.

    Raises:
        WeightsError: the file that they lie in was changed.
    """
    mapped.check(lowered.arrays.values())
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in lowered.arrays.items()
    )
    return model


def split(model: onnx.ModelProto) -> Lowered:
    """Move a model's weights out of it.

    Args:
        model: changed in place: its initializers go.
    """
    initializers = model.graph.initializer
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initializers}
    del initializers[:]
    return Lowered(model, arrays)


def to_bytes(model: Lowered | str | Path) -> bytes:
    """Return a model as the bytes of one ONNX file, its weights inside.

    Raises:
        CaffeCompatError: the file is no ONNX model, or it is over 2 GiB with its weights.
    """
    name = "the model" if isinstance(model, Lowered) else str(model)
    lowered = model if isinstance(model, Lowered) else open_model(model)
    try:
        return bytes(join(lowered).SerializeToString())
    except Exception as error:  # protobuf's own error types depend on its implementation
        raise CaffeCompatError(f"{name}: does not fit into one ONNX file: {error}") from error


def lower_values(net: Net, extra: Sequence[Value] = (), opset: int = OPSET) -> Lowered:
    """Return a net's ONNX model with further values, also intermediate ones, as outputs."""
    return simplify(lower(net, opset, extra))


def _outline(path: Path, *, on_cpu: bool) -> Lowered | Path:
    """Return an ONNX file with its weights left in place; the path itself if that gains nothing."""
    try:
        model, arrays = outline(path)
    except OutsideError:  # onnxruntime up to 1.23 would read it
        raise
    except Exception:  # onnxruntime's own message is the better one
        _check_inside(path)
        return path
    gains = path.stat().st_size >= _LARGE or (on_cpu and is_slow(model))
    return Lowered(model, arrays) if gains else path


def _check_inside(path: Path) -> None:
    with suppress(DecodeError, OSError):
        check_inside(onnx.load(path, load_external_data=False), path)


def open_model(model: str | Path | bytes) -> Lowered:
    """Return an ONNX file or its bytes with the weights apart.

    Raises:
        CaffeCompatError: there is no such file, or it is no ONNX file that can be read.
    """
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise CaffeCompatError(f"{model}: no such file")
    try:
        if not isinstance(model, bytes):
            return Lowered(*outline(Path(model)))
        message = onnx.load_from_string(model)
        check_inside(message, None)
        return split(message)
    except OutsideError:
        raise
    except Exception as error:  # protobuf's own error type depends on its implementation
        name = "the model" if isinstance(model, bytes) else str(model)
        raise CaffeCompatError(f"{name}: not an ONNX file that can be read: {error}") from error


def _with_outputs(model: onnx.ModelProto, blobs: Collection[str]) -> onnx.ModelProto:
    """Return a copy of the model with these blobs among its outputs, under Caffe's names."""
    outputs = {value.name for value in model.graph.output}
    tensors = {name for node in model.graph.node for name in node.output if name}
    tensors |= {value.name for value in model.graph.input}
    props = {prop.key: prop.value for prop in model.metadata_props}
    aliases: dict[str, str] = json.loads(props.get(ALIASES, "{}"))
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    for blob in dict.fromkeys(blobs):
        if blob in outputs:
            continue
        tensor = aliases.get(blob, blob)
        while tensor in aliases and tensor not in tensors:
            tensor = aliases[tensor]
        if tensor not in tensors:
            known = [*sorted(tensors - _inner(tensors)), *aliases]
            raise ShapeError(f"the net has no blob '{blob}'; its blobs: {', '.join(known)}")
        if tensor != blob:
            wider.graph.node.append(onnx.helper.make_node("Identity", [tensor], [blob]))
        wider.graph.output.append(onnx.ValueInfoProto(name=blob))
    return wider


def _inner(names: set[str]) -> set[str]:
    """Return the tensors inside a layer, whose names go on behind another's."""
    return {name for name in names if name.partition("/")[1]}
