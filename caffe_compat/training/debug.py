"""What `debug_info` logs: the mean magnitudes of blobs, gradients and parameters (net.cpp)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..net.graph import Node
from ..net.needs import Needs
from ..net.net import Net
from ..net.sharing import Place
from ..types import Array
from .log import Log, Write


def log_forward(net: Net, values: Mapping[str, Array], write: Write) -> None:
    """Log a forward pass.

    Args:
        net: the net.
        values: from `Net.run`.
        write: takes each line.
    """
    for node, arrays in zip(net.graph.nodes, net.arrays, strict=True):
        layer = f"    [Forward] Layer {node.layer.name}"
        for top in node.tops:
            name = top.blob if node.layer.proto.top else "(automatic)"
            write(f"{layer}, top blob {name} data: {mean(values[top.name]):g}")
        for i, array in enumerate(arrays):
            write(f"{layer}, param blob {_label(node, i)} data: {mean(array):g}")


class BackwardLog:
    """Logs a backward pass, layer by layer.

    Args:
        net: the net.
        needs: what the pass computes.
        before: the sums of the gradients of earlier sub-batches, by the owners' places.
        write: takes each line.
    """

    def __init__(self, net: Net, needs: Needs, before: Mapping[Place, Array], write: Write) -> None:
        self._net, self._needs, self._write = net, needs, write
        self._sums: dict[Place, Any] = dict(before)

    def __call__(
        self, index: int, flows: Sequence[Array | None], sums: Sequence[Array | None]
    ) -> None:
        """Log a layer's backward pass.

        Args:
            index: of the node.
            flows: the gradients at its bottoms.
            sums: what it adds to those of its parameter blobs.
        """
        node = self._net.graph.nodes[index]
        layer = f"    [Backward] Layer {node.layer.name}"
        for bottom, flow, want in zip(
            node.bottoms, flows, self._needs.bottoms[index], strict=False
        ):
            if want:
                size = 0 if flow is None else mean(flow)
                self._write(f"{layer}, bottom blob {bottom.blob} diff: {size:g}")
        wanted = self._needs.blobs[index]
        for i, (owner, want) in enumerate(zip(node.owners, wanted, strict=True)):
            if not want:
                continue
            grad = sums[i] if i < len(sums) else None
            if grad is not None:
                self._sums[owner] = self._sums[owner] + grad.reshape(self._sums[owner].shape)
            self._write(f"{layer}, param blob {i} diff: {mean(self._sums[owner]):g}")


def logged(log: Log) -> Write:
    """Return what writes lines of `debug_info` to a log, as net.cpp does."""

    def write(line: str) -> None:
        log(line, "net.cpp", "E" if "All net params" in line else "I")  # Caffe's LOG(ERROR)

    return write


@np.errstate(over="ignore")  # an infinite norm is shown as such
def total(params: Sequence[Array], grads: Sequence[Array]) -> str:
    """Return the line about all of a net's parameters, by norm."""
    ones = [sum(float(np.abs(a).sum()) for a in arrays) for arrays in (params, grads)]
    twos = [sum(float(np.square(a).sum()) for a in arrays) ** 0.5 for arrays in (params, grads)]
    return (
        f"    [Backward] All net params (data, diff): L1 norm = ({ones[0]:g}, {ones[1]:g}); "
        f"L2 norm = ({twos[0]:g}, {twos[1]:g})"
    )


def mean(array: Array) -> float:
    """Return the mean magnitude."""
    return float(np.abs(array).sum(dtype=np.float64) / array.size)


def _label(node: Node, i: int) -> str:
    """Return a parameter blob's name as Caffe shows it: its own, or its number."""
    specs = node.layer.proto.param
    return specs[i].name if i < len(specs) and specs[i].name else str(i)
