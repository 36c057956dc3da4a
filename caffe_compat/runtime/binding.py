"""Runs a session on arrays kept in a GPU's memory: bound once, filled anew at every run."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Dims
from .devices import runtime


class Binding:
    """The device buffers of one run at a time.

    Args:
        session: onnxruntime's session.
        device: onnxruntime's name of the memory: `cuda` or `cpu`.
        index: the number of the GPU.
        outputs: for every output its dims, and its dtype.
    """

    def __init__(
        self, session: Any, device: str, index: int, outputs: Mapping[str, tuple[Dims, Any]]
    ) -> None:
        self._session, self._place = session, (device, index)
        self._io = session.io_binding()
        self._inputs: dict[str, Any] = {}
        self._fed: dict[str, NDArray[Any]] = {}
        self._fixed = {
            name: runtime().OrtValue.ortvalue_from_shape_and_type(list(dims), dtype, *self._place)
            for name, (dims, dtype) in outputs.items()
            if None not in dims
        }
        self._outputs = list(outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs, in the order in which they were given to the constructor."""
        for name, array in feeds.items():
            held = self._inputs.get(name)
            if held is not None and tuple(held.shape()) == array.shape:
                held.update_inplace(array)
                continue
            # a value in the CPU's memory may be the caller's own array: it must not be kept
            own = array.copy() if self._place[0] == "cpu" else array
            self._fed[name] = own
            held = runtime().OrtValue.ortvalue_from_numpy(own, *self._place)
            self._inputs[name] = held
            self._io.bind_ortvalue_input(name, held)
        # What a run allocated stays bound, and would refuse another size at the next.
        self._io.clear_binding_outputs()
        for name in self._outputs:
            if name in self._fixed:
                self._io.bind_ortvalue_output(name, self._fixed[name])
            else:
                self._io.bind_output(name, *self._place)
        self._session.run_with_iobinding(self._io)
        return [np.array(array) for array in self._io.copy_outputs_to_cpu()]


class Bindings:
    """As many bindings as there are runs at one time; each is used again when its run is done.

    Args:
        session: as for Binding, as are `device`, `index` and `outputs`.
        device: the memory.
        index: the number of the GPU.
        outputs: for every output its dims and dtype.
        single: let one run go at a time, as a recorded CUDA graph demands.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        index: int,
        outputs: Mapping[str, tuple[Dims, Any]],
        *,
        single: bool = False,
    ) -> None:
        self._arguments = (session, device, index, outputs)
        self._free: list[Binding] = []
        self._turn = threading.Semaphore(1) if single else None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run on a binding that is free, or on a new one."""
        if self._turn is None:
            return self._run(feeds)
        with self._turn:
            return self._run(feeds)

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        try:
            binding = self._free.pop()  # atomic, so no lock
        except IndexError:
            binding = Binding(*self._arguments)
        made = binding.run(feeds)
        self._free.append(binding)  # not after an error: what it holds is then unknown
        return made
