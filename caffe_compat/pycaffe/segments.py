"""Segments: runs of layers that onnxruntime computes at once, on the blobs' own memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..runtime.devices import devices, runtime
from ..types import Array, Shape
from . import mode
from .blob import Changes, memories, shape_of
from .lowering import Part, lower, lowers
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
        shapes: list[Any] = [mode.gpu()]
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
        self._arrays: list[Array] = []
        self._session: Any = None
        if part.model is None:
            return
        options = runtime().SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = _threads()
        gpu = mode.gpu()
        device = devices("cpu" if gpu is None else f"cuda:{gpu}")[0]
        self._session = runtime().InferenceSession(
            part.model.SerializeToString(), options, providers=list(device.providers)
        )
        part.model = None
        self._names = {value.name for value in self._session.get_inputs()}
        self._copies: list[tuple[Array, Array]] = []

    def outdated(self) -> bool:
        """Whether the parameters have taken values for which the model would be another."""
        return any(derived.stale() and not derived.renew() for derived in self.part.derived)

    def bind(self) -> None:
        """Bind to the memory as it lies now."""
        if self._session is None:
            return
        inputs = self._inputs()
        outputs = {name: memories(blob)[0].array for name, blob in self.part.outputs.items()}
        places = (*_addresses(a for a, _ in inputs.values()), *_addresses(outputs.values()))
        if places == self._bound:
            return
        self._io = self._session.io_binding()
        self._arrays, self._copies = [a for a, _ in inputs.values()], []
        for name, (array, shape) in inputs.items():
            self._io.bind_input(name, "cpu", 0, np.float32, shape, array.ctypes.data)
        read = set(_addresses(a for a, _ in inputs.values()))
        for name, blob in self.part.outputs.items():
            array = outputs[name][: blob.count]
            if array.ctypes.data in read:  # a layer in place on what the segment reads
                self._copies.append((array, np.empty_like(array)))
                array = self._copies[-1][1]
            self._output(name, array, shape_of(blob))
        for name, step in self.part.kept.items():
            step.kept = np.empty(shape_of(step.bottoms[0]), np.float32)
            if name not in self.part.outputs:
                self._output(name, step.kept, step.kept.shape)
        self._bound = places

    def _inputs(self) -> dict[str, tuple[Array, Shape]]:
        part = self.part
        inputs = {
            name: (memories(blob)[0].array, shape_of(blob)) for name, blob in part.blobs.items()
        }
        inputs |= {
            name: (memories(blob)[0].array, shape)
            for name, (blob, shape) in part.parameters.items()
        }
        for derived in part.derived:
            pairs = zip(derived.names, derived.arrays, strict=True)
            inputs |= {name: (array, array.shape) for name, array in pairs}
        return {name: value for name, value in inputs.items() if name in self._names}

    def _output(self, name: str, array: Array, shape: Shape) -> None:
        self._arrays.append(array)
        self._io.bind_output(name, "cpu", 0, np.float32, shape, array.ctypes.data)

    def run(self) -> None:
        """Run the model on the memory that it is bound to."""
        if self._session is None:
            return
        self._session.run_with_iobinding(self._io)
        for array, result in self._copies:
            array[...] = result


def _threads() -> int:
    """Return the number of threads that the environment allows BLAS; 0: one for each core."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        number = os.environ.get(variable, "")
        if number.isdecimal():
            return int(number)
    return 0


def _addresses(arrays: Any) -> tuple[int, ...]:
    return tuple(array.ctypes.data for array in arrays)


def available() -> bool:
    """Whether onnxruntime is installed."""
    with contextlib.suppress(DeviceError):
        runtime()
        return True
    return False
