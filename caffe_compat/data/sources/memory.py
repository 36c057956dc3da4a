"""MemoryData: arrays that the caller gives (memory_data_layer.cpp)."""

from __future__ import annotations

import logging

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError
from ...types import AnyArray, Array, Shape
from ..source import Access, Plan, Run, Source, State, run_here

log = logging.getLogger("caffe_compat")


class MemorySource(Source):
    """The arrays of a MemoryData layer, batch by batch and from the start again.

    Args:
        layer: the layer.
        access: how it is read.

    Raises:
        ShapeError: the layer gives no shape.
    """

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        p = layer.memory_data_param
        self._shape: Shape = (p.batch_size, p.channels, p.height, p.width)
        if 0 in self._shape:
            raise ShapeError(
                f"batch_size, channels, height and width must be positive: {self._shape}"
            )
        self._data: Array | None = None
        self._labels: Array | None = None
        self._at = 0

    def set_arrays(self, data: AnyArray, labels: AnyArray) -> None:
        """Take other arrays (MemoryDataLayer::Reset). They are not copied where they are float32.

        Args:
            data: (n, channels, height, width), n a multiple of the batch size.
            labels: n of them, in any shape.

        Raises:
            ShapeError: they are of another shape.
        """
        count, batch = len(data), self._shape[0]
        if data.shape[1:] != self._shape[1:] or count % batch or not count:
            raise ShapeError(
                f"the data is {data.shape}; it must be (n, {self._shape[1]}, {self._shape[2]}, "
                f"{self._shape[3]}), n a multiple of the batch_size {batch}"
            )
        if labels.size != count:
            raise ShapeError(f"{labels.size} labels for {count} images")
        if self.layer.HasField("transform_param"):
            log.warning("MemoryData '%s': arrays are not transformed", self.layer.name)
        self._data = np.ascontiguousarray(data, np.float32)
        self._labels = np.ascontiguousarray(labels, np.float32).reshape(-1)
        self._at = 0

    def shapes(self) -> list[Shape]:
        """Return the tops' shapes."""
        return [self._shape, self._shape[:1]]

    def plan(self, run: Run = run_here) -> Plan:
        """Take the next batch: views of the arrays."""
        if self._data is None or self._labels is None:
            raise ShapeError(
                f"needs arrays, which the caller gives: arrays={{'{self.layer.name}': "
                "(data, labels)}"
            )
        batch = slice(self._at, self._at + self._shape[0])
        self._at = batch.stop % len(self._data)
        return Plan([self._data[batch], self._labels[batch]], [])

    def state(self) -> State:
        """Return the place before the next batch."""
        return {"at": self._at}

    def restore(self, state: State) -> None:
        """Go to a place that `state` returned."""
        if self._data is not None and state["at"] >= len(self._data):
            raise ShapeError(f"has {len(self._data)} images, and stood at {state['at']}")
        self._at = state["at"]
