"""Runs on arrays in a GPU's memory: bound once, filled again at every run."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..types import AnyArray, Dims
from .devices import runtime

Values: TypeAlias = Mapping[str, tuple[Dims, Any]]
"""The dims and the dtype of inputs or outputs by name."""


class Binding:
    """The device buffers of one run at a time; those of fixed size stay the same for good.

    Args:
        session: onnxruntime's session.
        device: onnxruntime's name of the memory: `cuda` or `cpu`.
        index: the index of the GPU.
        inputs: the session's.
        outputs: the session's.
    """

    def __init__(
        self, session: Any, device: str, index: int, inputs: Values, outputs: Values
    ) -> None:
        self._session, self._place = session, (device, index)
        self._io = session.io_binding()
        self._inputs = self._allocate(inputs)
        for name, value in self._inputs.items():
            self._io.bind_ortvalue_input(name, value)
        self._arrays: dict[str, AnyArray] = {}  # what _inputs point to in the CPU's memory
        self._fixed = self._allocate(outputs)
        self._outputs = list(outputs)

    def run(self, feeds: Mapping[str, AnyArray]) -> list[AnyArray]:
        """Return the outputs, in the order of the constructor's."""
        for name, array in feeds.items():
            value = self._inputs.get(name)
            if value is not None and tuple(value.shape()) == array.shape:
                value.update_inplace(array)
                continue
            # A value in the CPU's memory may be the caller's own array, which may change later.
            own = array.copy() if self._place[0] == "cpu" else array
            value = runtime().OrtValue.ortvalue_from_numpy(own, *self._place)
            self._io.bind_ortvalue_input(name, value)
            self._arrays[name], self._inputs[name] = own, value
        # The outputs that a run allocated stay bound, and would refuse another size at the next.
        self._io.clear_binding_outputs()
        for name in self._outputs:
            if name in self._fixed:
                self._io.bind_ortvalue_output(name, self._fixed[name])
            else:
                self._io.bind_output(name, *self._place)
        self._session.run_with_iobinding(self._io)
        return [np.array(array) for array in self._io.copy_outputs_to_cpu()]

    def _allocate(self, values: Values) -> dict[str, Any]:
        """Return buffers for the values of fixed size."""
        return {
            name: runtime().OrtValue.ortvalue_from_shape_and_type(list(dims), dtype, *self._place)
            for name, (dims, dtype) in values.items()
            if None not in dims
        }


class Bindings:
    """A binding for each of the runs under way; a later run uses it again.

    Args:
        session: as for Binding, as are `device`, `index`, `inputs` and `outputs`.
        device: the memory.
        index: the index of the GPU.
        inputs: the session's.
        outputs: the session's.
        single: keep one binding for good and allow one run at a time, as a CUDA graph demands: it
            replays its work on the addresses that it was recorded with.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        index: int,
        inputs: Values,
        outputs: Values,
        *,
        single: bool = False,
    ) -> None:
        self._arguments = (session, device, index, inputs, outputs)
        self._free: list[Binding] = []
        self._only = Binding(*self._arguments) if single else None
        self._turn = threading.Lock()

    def run(self, feeds: Mapping[str, AnyArray]) -> Sequence[AnyArray]:
        """Run on a free binding, or on a new one, and return the outputs."""
        if self._only is not None:
            with self._turn:
                return self._only.run(feeds)
        try:
            binding = self._free.pop()  # atomic, so no lock
        except IndexError:
            binding = Binding(*self._arguments)
        outputs = binding.run(feeds)
        self._free.append(binding)  # not after an error, which leaves its buffers unknown
        return outputs
