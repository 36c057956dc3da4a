"""Solver states, `.solverstate` and `.solverstate.h5`, as Caffe reads and writes them.

From sgd_solver.cpp: SnapshotSolverStateToBinaryProto, SnapshotSolverStateToHDF5 and their
counterparts. The fields that Caffe lacks stand where it skips them: under other field numbers, and
in the HDF5 file's group `caffe_compat`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ..caffe_pb2 import BlobProto, SolverState
from ..errors import CaffeCompatError, WeightsError
from ..files import atomic, foreign_format, read_bytes
from ..types import AnyArray, Array
from . import hdf5_file

FLT_MAX = float(np.finfo(np.float32).max)
_MAX_BYTES = 2**31 - 1  # what any reader of a protobuf takes


@dataclass(frozen=True, eq=False)
class State:
    """A training at rest.

    Attributes:
        iter: the number of updates so far.
        current_step: the number of steps that the learning-rate policy has taken.
        learned_net: the path of the weights, as written; empty where there is none.
        history: the update rule's arrays, float32.
        minimum_loss: the least loss so far, where the policy is `plateau` (SSD's branch).
        iter_last_event: the iteration of that policy's last event, likewise.
        weights_sha256: the digest of the weights file; empty where Caffe wrote the state.
        random_stream: the state of the random stream, likewise.
        readers: the places of the data readers, likewise.
    """

    iter: int
    current_step: int
    learned_net: str
    history: Sequence[Array]
    minimum_loss: float = FLT_MAX
    iter_last_event: int = 0
    weights_sha256: bytes = b""
    random_stream: bytes = b""
    readers: Sequence[bytes] = field(default_factory=tuple)


def read(path: str | os.PathLike[str]) -> State:
    """Read a solver state of either format; `.h5` at the end of the name means HDF5, as in Caffe.

    Raises:
        WeightsError: it is missing, damaged, or not a solver state.
    """
    return _read_hdf5(path) if os.fspath(path).endswith(".h5") else _read_binary(path)


def write(path: str | os.PathLike[str], state: State) -> None:
    """Write a solver state; the name decides the format as for `read`.

    Raises:
        CaffeCompatError: the file cannot be written; what stood there before is untouched.
    """
    try:
        if os.fspath(path).endswith(".h5"):
            _write_hdf5(path, state)
        else:
            _write_binary(path, state)
    except OSError as error:
        raise CaffeCompatError(f"{path}: cannot be written: {error.strerror or error}") from None


def _read_binary(path: str | os.PathLike[str]) -> State:
    data = read_bytes(path, _MAX_BYTES)
    foreign = foreign_format(data[:1024])
    if foreign:
        raise WeightsError(f"{path}: not a solver state but {foreign}")
    message = SolverState()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise WeightsError(f"{path}: not a solver state, or damaged: {error}") from None
    if not message.HasField("iter"):
        raise WeightsError(f"{path}: not a solver state: it has no iter")
    return State(
        message.iter,
        message.current_step,
        message.learned_net,
        [_array(path, i, blob) for i, blob in enumerate(message.history)],
        message.minimum_loss if message.HasField("minimum_loss") else FLT_MAX,
        message.iter_last_event,
        message.weights_sha256,
        message.random_stream,
        tuple(message.reader),
    )


def _array(path: str | os.PathLike[str], i: int, blob: BlobProto) -> Array:
    data = np.array(blob.double_data or blob.data, np.float32)
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy if any(legacy) else ()
    if any(n < 0 for n in shape) or data.size != int(np.prod(shape, dtype=object)):
        raise WeightsError(f"{path}: history {i} has {data.size} values for the shape {shape}")
    return data.reshape(shape)


def _write_binary(path: str | os.PathLike[str], state: State) -> None:
    message = SolverState(
        iter=state.iter, current_step=state.current_step, learned_net=state.learned_net
    )
    for array in state.history:
        blob = message.history.add()
        blob.data.extend(array.ravel())
        blob.shape.dim.extend(array.shape)
    if state.minimum_loss < FLT_MAX:
        message.minimum_loss, message.iter_last_event = state.minimum_loss, state.iter_last_event
    if state.weights_sha256:
        message.weights_sha256 = state.weights_sha256
    if state.random_stream:
        message.random_stream = state.random_stream
    message.reader.extend(state.readers)
    with atomic(path) as target:
        target.write_bytes(message.SerializeToString())


_OWN = ("weights_sha256", "random_stream")


def _read_hdf5(path: str | os.PathLike[str]) -> State:
    import h5py  # only here: it takes longer to import than most files to read

    try:
        with h5py.File(path, "r") as file:
            _refuse_links(path, file)
            group = file["history"]
            _refuse_links(path, group)
            own = _own_fields(path, file)
            readers = itertools.takewhile(
                own.__contains__, map("reader{}".format, itertools.count())
            )
            return State(
                int(np.ravel(file["iter"][()])[0]),
                int(np.ravel(file["current_step"][()])[0]),
                bytes(file["learned_net"][()]).decode() if "learned_net" in file else "",
                [_history(path, group[str(i)]) for i in range(len(group))],
                float(np.ravel(file["minimum_loss"][()])[0]) if "minimum_loss" in file else FLT_MAX,
                int(np.ravel(file["iter_last_event"][()])[0]) if "iter_last_event" in file else 0,
                own.get("weights_sha256", b""),
                own.get("random_stream", b""),
                tuple(own[name] for name in readers),
            )
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except WeightsError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = error.args[0] if error.args else error
        raise WeightsError(f"{path}: not a solver state, or damaged: {reason}") from None


def _own_fields(path: str | os.PathLike[str], file: Any) -> dict[str, bytes]:
    if "caffe_compat" not in file:
        return {}
    group = file["caffe_compat"]
    _refuse_links(path, group)
    return {name: _stored(path, group[name]).astype(np.uint8).tobytes() for name in group}


def _refuse_links(path: str | os.PathLike[str], group: Any) -> None:
    """Refuse soft and external links, which could lead out of the file."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise WeightsError(f"{path}: {group.name}/{name}: a link that leads elsewhere")


def _history(path: str | os.PathLike[str], data: Any) -> Array:
    return np.asarray(_stored(path, data), np.float32)


def _stored(path: str | os.PathLike[str], data: Any) -> AnyArray:
    if data.is_virtual or data.external or data.dtype.kind not in "fu":
        raise WeightsError(f"{path}: {data.name}: not plain numbers of this file")
    if data.nbytes > data.id.get_storage_size():  # neither Caffe nor this compresses
        raise WeightsError(f"{path}: {data.name}: declares {data.nbytes} bytes that are not stored")
    return np.asarray(data[()])


def _write_hdf5(path: str | os.PathLike[str], state: State) -> None:
    with hdf5_file.creating(path) as file:
        file.create_dataset("iter", data=np.array([state.iter], np.int32))
        _write_string(file, "learned_net", state.learned_net)
        file.create_dataset("current_step", data=np.array([state.current_step], np.int32))
        if state.minimum_loss < FLT_MAX:
            file.create_dataset("minimum_loss", data=np.array([state.minimum_loss], np.float32))
            last = np.array([state.iter_last_event], np.int32)
            file.create_dataset("iter_last_event", data=last)
        group = file.create_group("history")
        for i, array in enumerate(state.history):
            group.create_dataset(str(i), data=array, dtype="<f4")
        own = {name: getattr(state, name) for name in _OWN}
        own |= {f"reader{i}": place for i, place in enumerate(state.readers)}
        group = file.create_group("caffe_compat")
        for name, value in own.items():
            if value:
                group.create_dataset(name, data=np.frombuffer(value, np.uint8))


def _write_string(file: Any, name: str, text: str) -> None:
    """Write a string with the 0 at its end that Caffe's reader looks for."""
    import h5py

    data = text.encode() + b"\0"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(data))
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    stored = h5py.h5d.create(file.id, name.encode(), kind, space)
    stored.write(space, space, np.array(data, f"S{len(data)}"), kind)
