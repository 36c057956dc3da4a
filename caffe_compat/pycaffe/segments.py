"""Segments: runs of layers that onnxruntime computes at once, on the blobs' own memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..runtime.devices import devices, runtime
from ..types import Shape
from . import mode
from .blob import Blob, Changes, memories, shape_of
from .lowering import Part, lower, lowers
from .memory import Memory
from .placement import place, synchronize
from .steps import Computed, Step

_SESSIONS = 8  # of a segment, each for other shapes


class Segment:
    """The layers from one index on, as many as onnxruntime can run at once.

    Args:
        steps: the net's layers.
        start: the first one's index.
        last: the index of the last layer that may be run.
    """

    def __init__(self, steps: Sequence[Step], start: int, last: int) -> None:
        self._steps, self._start, self._last = steps, start, last
        self._sessions: dict[tuple[Any, ...], _Session] = {}
        self._current: _Session | None = None
        self._seen = -1
        self._where: tuple[str | None, str | None] = None, None

    def run(self) -> int:
        """Run the layers; return the index behind the last that ran, `start` where none can."""
        if self._seen != Changes.count or (self._current is not None and self._current.outdated()):
            self._prepare()
        if self._current is None:
            return self._start
        self._current.run()
        return self._current.part.stop

    def _prepare(self) -> None:
        """Let shapes through the layers, and take or make the session for them."""
        if not lowers(self._steps[self._start]):
            self._current = None
            return  # not `_seen`: what a layer is may change with its shapes
        where = mode.device(), place()
        if where != self._where:
            self._sessions.clear()
            self._where = where
        shapes: list[Any] = []
        for step in self._steps[self._start : self._last + 1]:
            if type(step) is not Computed or step.layer.varies:
                break
            step.reshape()
            shapes.append([shape_of(blob) for blob in step.bottoms])
        key = (*map(str, shapes),)
        session = self._sessions.pop(key, None)
        if session is None or session.outdated():
            session = self._open()
        if session is not None:
            self._sessions[key] = session
            session.bind()
        while len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._current = session
        self._seen = Changes.count

    def _open(self) -> _Session | None:
        part = lower(self._steps, self._start, self._last)
        return _Session(part) if part.stop > self._start else None


class _Session:
    """A model opened, its inputs and outputs bound to the blobs' memory."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._bound: tuple[int, ...] = ()
        self._session: Any = None
        if part.model is None:
            return
        options = runtime().SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = _threads()
        device = devices(mode.device() or "cpu")[0]
        self._session = device.start(part.model.SerializeToString(), options)
        part.model = None
        self._names = {value.name for value in self._session.get_inputs()}
        self._place = place()
        self._where = (device.kind, device.index) if self._place else ("cpu", 0)
        self._inputs: dict[str, tuple[Memory, Shape]] = {}
        self._kept = {name: Blob(shape_of(step.bottoms[0])) for name, step in part.kept.items()}
        self._copies: list[tuple[Any, Any]] = []

    def outdated(self) -> bool:
        """Return whether the parameters have taken values for which the model would be another."""
        return any(derived.stale() and not derived.renew() for derived in self.part.derived)

    def bind(self) -> None:
        """Bind to the memory as it lies now."""
        if self._session is None:
            return
        part = self.part
        for name, step in part.kept.items():
            step.kept = self._kept[name]
        blobs = {name: (blob, shape_of(blob)) for name, blob in part.blobs.items()}
        self._inputs = {
            name: (memories(blob)[0], shape)
            for name, (blob, shape) in (blobs | part.parameters).items()
            if name in self._names
        }
        inputs = {name: self._values(memory) for name, (memory, _) in self._inputs.items()}
        outputs = {name: self._values(memories(blob)[0]) for name, blob in part.outputs.items()}
        addresses = (*map(_address, inputs.values()), *map(_address, outputs.values()))
        if addresses != self._bound:
            self._bind(inputs, outputs)
            self._bound = addresses

    def _bind(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._io, self._copies = self._session.io_binding(), []
        blobs = (*self.part.outputs.values(), *self._kept.values())
        self._targets = [memories(blob)[0] for blob in blobs]
        for name, values in inputs.items():
            shape = self._inputs[name][1]
            self._io.bind_input(name, *self._where, np.float32, shape, _address(values))
        for derived in self.part.derived:
            for name, array in zip(derived.names, derived.arrays, strict=True):
                if name in self._names:
                    self._io.bind_input(name, "cpu", 0, np.float32, array.shape, _address(array))
        read = set(map(_address, inputs.values()))
        for name, blob in self.part.outputs.items():
            values = outputs[name][: blob.count]
            if _address(values) in read:  # a layer in place on what the segment reads
                self._copies.append((values, values + 0))
                values = self._copies[-1][1]
            self._bind_output(name, values, shape_of(blob))
        for name, blob in self._kept.items():
            if name not in self.part.outputs:
                self._bind_output(name, self._values(memories(blob)[0]), shape_of(blob))

    def _bind_output(self, name: str, values: Any, shape: Shape) -> None:
        self._io.bind_output(name, *self._where, np.float32, shape, _address(values))

    def _values(self, memory: Memory) -> Any:
        """Return the values where the device reads them: numpy's, or PyTorch's on a GPU."""
        return memory.tensor(self._place) if self._place else memory.array

    def run(self) -> None:
        """Run the model on the memory that it is bound to."""
        if self._session is None:
            return
        if self._place:
            for memory in (*(memory for memory, _ in self._inputs.values()), *self._targets):
                memory.tensor(self._place)
            synchronize(self._place)
        self._session.run_with_iobinding(self._io)
        for values, result in self._copies:
            values[...] = result
        for memory in self._targets:
            memory.mark_written()


def _threads() -> int:
    """Return the number of threads that the environment allows BLAS; 0: one for each core."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        number = os.environ.get(variable, "")
        if number.isdecimal():
            return int(number)
    return 0


def _address(values: Any) -> int:
    return int(values.ctypes.data if isinstance(values, np.ndarray) else values.data_ptr())


def available() -> bool:
    """Return whether onnxruntime is installed."""
    with contextlib.suppress(DeviceError):
        runtime()
        return True
    return False
