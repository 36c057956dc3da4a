"""The files that HDF5Output layers write where a net trains, is tested, or runs in a script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..files import check_outputs
from ..layers.layer import Layer
from ..net.graph import Graph, Value
from ..types import Array
from ..weights.hdf5_file import creating
from .ranks import Ranks


class OutputFile:
    """The file of one layer: its bottoms in one pass, `data` and `label` (hdf5_output_layer.cpp).

    Args:
        layer: the layer; its file_name counts from the current folder, as in Caffe.

    Raises:
        ShapeError: it names no file.
        CaffeCompatError: the file cannot be written.
    """

    def __init__(self, layer: Layer) -> None:
        self._layer, self.path = layer, Path(layer.p.file_name)
        self._written = False
        with layer.named():
            if not layer.p.file_name:
                raise ShapeError("gives no file_name")
            check_outputs([self.path])

    def write(self, data: Array, label: Array) -> None:
        """Write the file, where it is not written yet.

        Raises:
            UnsupportedError: it is; Caffe ends there.
            CaffeCompatError: it cannot be written.
        """
        with self._layer.named():
            if self._written:
                raise UnsupportedError(
                    f"'{self.path}' has the rows of the pass before, and can have no more: Caffe "
                    "ends at the second pass"
                )
            with creating(self.path) as file:
                for name, rows in (("data", data), ("label", label)):
                    shape = (*rows.shape, 1, 1, 1, 1)[:4]
                    file.create_dataset(name, data=np.asarray(rows, np.float32).reshape(shape))
            self._written = True


class Outputs:
    """The files of a net's layers; of several processes the first writes.

    Args:
        graph: the net.

    Attributes:
        values: what is written.

    Raises:
        CaffeCompatError: a file cannot be written, or two layers name it.
    """

    def __init__(self, graph: Graph) -> None:
        nodes = [node for node in graph.nodes if node.layer.type == "HDF5Output"]
        nodes = nodes if Ranks.current().rank == 0 else []
        self._files = [(OutputFile(node.layer), node.bottoms) for node in nodes]
        check_outputs(file.path for file, _ in self._files)
        self.values: list[Value] = [value for node in nodes for value in node.bottoms]

    def write(self, values: Mapping[str, Array]) -> None:
        """Write what a pass has computed.

        Args:
            values: by `Value.name`.

        Raises:
            UnsupportedError: a pass before has been written.
            CaffeCompatError: a file cannot be written.
        """
        for file, (data, label) in self._files:
            file.write(values[data.name], values[label.name])
