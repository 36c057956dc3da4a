"""Parameter blobs as torch parameters that lie in the weights file until they are written."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from ..net.net import Net
from ..net.sharing import Place
from ..types import Array, Shape
from ..weights import mapped
from .saving import spec_of


class Parameters:
    """The parameters of one module: a shared blob is one parameter at all its places.

    Args:
        net: the net that they are the blobs of.
        tensors: the memory of blobs, by their owners' places.
    """

    def __init__(self, net: Net, tensors: Mapping[Place, Tensor] = MappingProxyType({})) -> None:
        self._net, self._tensors = net, tensors
        self._files: dict[Path, mmap.mmap] = {}
        self._known: dict[Place, nn.Parameter] = {}

    def get(self, index: int, blob: int, shape: Shape) -> nn.Parameter:
        """Return a node's parameter, of this shape unless another place has it in another one."""
        owner = self._net.graph.nodes[index].owners[blob]
        if owner not in self._known:
            learns = spec_of(self._net.graph.nodes[index].layer, blob).lr_mult != 0
            tensor = self._memory(owner).view(shape)
            self._known[owner] = nn.Parameter(tensor, requires_grad=learns)
        return self._known[owner]

    def _memory(self, owner: Place) -> Tensor:
        if owner in self._tensors:
            return self._tensors[owner]
        return torch.from_numpy(self.private(self._net.arrays[owner[0]][owner[1]]))

    def private(self, array: Array) -> Array:
        """Return an array that may be written; its file, where it lies in one, stays as it is."""
        location = mapped.location(array)
        if location is None:
            return np.array(array, np.float32, order="C")
        path, offset, _ = location
        if path not in self._files:
            with path.open("rb") as file:
                self._files[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.ndarray(array.shape, "<f4", self._files[path], offset)
