"""The contents of the other files that this tool writes or reads, for `show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import CaffeCompatError, ParseError
from ..npy import read_array
from ..text import say_shape, table
from ..types import AnyArray
from ..weights import is_text, read_mean
from ..weights import read as read_weights
from .terminal import statistics


class Kind(Enum):
    """The kinds of files."""

    NET = "net"
    WEIGHTS = "weights"
    ARRAY = "array"
    MEAN = "mean"
    STATE = "state"
    DATA = "data"
    ONNX = "onnx"


_SUFFIXES = {
    ".caffemodel": Kind.WEIGHTS,
    ".npz": Kind.WEIGHTS,
    ".npy": Kind.ARRAY,
    ".binaryproto": Kind.MEAN,
    ".solverstate": Kind.STATE,
    ".onnx": Kind.ONNX,
    ".prototxt": Kind.NET,
    ".pbtxt": Kind.NET,
}


def kind_of(path: Path) -> Kind:
    """Return the kind of a file: by its first bytes, its suffix, or what can read it."""
    try:
        with path.open("rb") as file:
            begin = file.read(1024)
    except (OSError, ValueError):
        return Kind.NET  # whose reader says why
    if begin.startswith(b"\x89HDF"):
        return _kind_of_hdf5(path)
    if begin.startswith(b"PK\x03\x04"):
        return Kind.WEIGHTS
    if begin.startswith(b"\x93NUMPY"):
        return Kind.ARRAY
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    return Kind.NET if is_text(begin) or not begin else _kind_of_protobuf(path)


def _kind_of_hdf5(path: Path) -> Kind:
    from ..weights import hdf5  # here, since h5py takes long to import

    shapes = hdf5.list_datasets(path)
    if "iter" in shapes and "learned_net" in shapes:
        return Kind.STATE
    weights = all(name.startswith(("data/", "diff/")) for name in shapes)
    return Kind.WEIGHTS if shapes and weights else Kind.DATA


def _kind_of_protobuf(path: Path) -> Kind:
    """Return the kind by reading: weights, if nothing else can."""
    try:
        if any(layer.blobs for layer in read_weights(path).layers):
            return Kind.WEIGHTS
    except CaffeCompatError:
        pass
    for kind in (Kind.MEAN, Kind.ONNX):
        try:
            list(show_file(path, kind))
        except CaffeCompatError:
            continue
        return kind
    return Kind.NET  # whose reader refuses a binary file


def show_file(path: Path, kind: Kind) -> Iterator[str]:
    """Yield the lines for a file that is neither a prototxt nor weights.

    Raises:
        CaffeCompatError: it is damaged.
    """
    show = {
        Kind.ARRAY: _show_array,
        Kind.MEAN: _show_mean,
        Kind.STATE: _show_state,
        Kind.DATA: _show_datasets,
        Kind.ONNX: _show_onnx,
    }
    return show[kind](path)


def _show_array(path: Path) -> Iterator[str]:
    array = read_array(path)
    yield f"array {array.dtype}, {say_shape(array.shape)}"
    yield _numbers(array)


def _show_mean(path: Path) -> Iterator[str]:
    mean = read_mean(path)
    yield f"mean image {say_shape(mean.shape)}"
    yield _numbers(mean)
    planes = mean.reshape(-1, *mean.shape[-2:]) if mean.ndim > 2 and mean.size else ()
    if 1 < len(planes) <= 16:
        yield "mean of each channel: " + ", ".join(f"{_mean(plane):.6g}" for plane in planes)


def _numbers(array: AnyArray) -> str:
    with np.errstate(all="ignore"):
        return statistics(array)


def _mean(array: AnyArray) -> float:
    with np.errstate(all="ignore"):
        return float(array.mean(dtype=np.float64))


def _show_state(path: Path) -> Iterator[str]:
    from ..weights import solverstate

    state = solverstate.read(path)
    yield f"solver state at iteration {state.iter}, step {state.current_step} of the policy"
    yield f"weights {state.learned_net or 'not named'}"
    arrays = ", ".join(say_shape(array.shape) for array in state.history[:8])
    more = f" and {len(state.history) - 8} more" if len(state.history) > 8 else ""
    count = sum(array.size for array in state.history)
    yield f"{len(state.history)} arrays of history, {count:,} numbers: {arrays}{more}"


def _show_datasets(path: Path) -> Iterator[str]:
    from ..weights import hdf5

    rows = [(name, say_shape(shape)) for name, shape in hdf5.list_datasets(path).items()]
    yield from table([("data set", "shape"), *rows])


def _show_onnx(path: Path) -> Iterator[str]:
    from ..onnx.lowering import Lowered  # here, since these load onnx
    from ..onnx.reader import outline
    from ..runtime.placement import place

    try:
        model, arrays = outline(path)
    except DecodeError as error:
        raise ParseError(f"{path}: not an ONNX model: {error}") from None
    graph = model.graph
    if not graph.node:
        raise ParseError(f"{path}: not an ONNX model: it has no nodes")
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    by = model.producer_name or "no name"
    yield f"ONNX model {graph.name!r} by {by}, opset {opsets}"
    defaults = {*arrays, *(tensor.name for tensor in graph.initializer)}
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            dims = value.type.tensor_type.shape.dim
            shape = "x".join(str(d.dim_value) if d.HasField("dim_value") else "?" for d in dims)
            optional = " (optional)" if value.name in defaults else ""
            yield f"{kind:6}   {value.name} {shape or 'scalar'}{optional}"
    operators = Counter(node.op_type for node in graph.node)
    rows = [(name, str(count)) for name, count in operators.most_common()]
    yield from table([("operator", "count"), *rows])
    numbers = sum(array.size for array in arrays.values())
    numbers += sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    yield f"{len(graph.node)} nodes, {len(arrays) + len(graph.initializer)} initializers of " + (
        f"{numbers:,} numbers"
    )
    yield from place(Lowered(model, arrays)).lines()
    for prop in model.metadata_props:
        yield f"{prop.key}: {prop.value}"
