"""OpenCV's Net: setInput, forward, and questions about the layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CaffeCompatError, ShapeError
from ..images.blob_images import per_channel
from ..net.graph import Graph, Node
from ..net.net import Net as Weighted
from ..runtime.devices import log_once
from ..runtime.reshaping import Reshaping
from ..types import Array
from . import constants
from .layers import Layer, find_node, named_nodes, unconnected

_DEVICES = {
    constants.DNN_TARGET_CPU: "cpu",
    constants.DNN_TARGET_CPU_FP16: "cpu",
    constants.DNN_TARGET_CUDA: "cuda",
    constants.DNN_TARGET_CUDA_FP16: "cuda",
}


class Net:
    """A net whose inputs, set by setInput, may have any shape that it can have.

    Args:
        net: the net with its weights; None: an empty one.
    """

    def __init__(self, net: Weighted | None = None) -> None:
        self._net = None if net is None else Reshaping(net)
        self._feeds: dict[str, Array] = {}
        self._nanoseconds = 0

    def empty(self) -> bool:
        """Return whether there is no net."""
        return self._net is None

    # -- running -----------------------------------------------------------------------------

    def setInput(
        self,
        blob: ArrayLike,
        name: str = "",
        scalefactor: float = 1.0,
        mean: float | Sequence[float] = (),
    ) -> None:
        """Feed an input: (blob - mean) * scalefactor.

        Args:
            blob: of any number type; the net gets a copy in float32.
            name: the input's name; empty: the first input's.
            scalefactor: multiplies after the mean is subtracted.
            mean: for each channel.

        Raises:
            ShapeError: the net has no such input.
        """
        inputs = [value.blob for value in self._graph.inputs]
        if name and name not in inputs:
            raise ShapeError(f"the net has no input '{name}'; its inputs: {', '.join(inputs)}")
        x = np.array(blob, np.float32, order="C")
        shift = per_channel(mean, x.shape[1] if x.ndim == 4 else 1)
        if np.any(shift != 0):
            x = x - (shift if x.ndim == 4 else shift.ravel())
        self._feeds[name or inputs[0]] = x * np.float32(scalefactor) if scalefactor != 1 else x

    def forward(self, outputName: str | Sequence[str] | None = None) -> Any:
        """Run the net.

        Args:
            outputName: a layer's name, or several; None or empty: the last layer.

        Returns:
            The layer's first output, or for several names a tuple of these.

        Raises:
            ShapeError: there is no such layer or output; inputs are not set, or do not fit.
        """
        start = time.perf_counter_ns()
        single = outputName is None or isinstance(outputName, str)
        names = [outputName or self.getLayerNames()[-1]] if single else list(outputName or ())
        outputs = self._run([str(name) for name in names])
        self._nanoseconds = time.perf_counter_ns() - start
        return outputs[0] if single else tuple(outputs)

    def forwardAndRetrieve(self, outBlobNames: Sequence[str]) -> tuple[tuple[Array, ...], ...]:
        """Run the net and return every output of each of the layers."""
        self._reshaping.fit(self._feeds)
        tops = [self._node(name).tops for name in outBlobNames]
        outputs = iter(self._reshaping.run(self._feeds, [top for own in tops for top in own]))
        return tuple(tuple(next(outputs) for _ in own) for own in tops)

    def _run(self, names: Sequence[str]) -> list[Array]:
        self._reshaping.fit(self._feeds)
        nodes = [self._node(name) for name in names]
        outputs = self._reshaping.run(self._feeds, [node.tops[0] for node in nodes])
        images = len(next(iter(self._feeds.values())))
        return [_opencv_rows(*each, images) for each in zip(nodes, outputs, strict=True)]

    # -- layers ------------------------------------------------------------------------------

    def getLayerNames(self) -> tuple[str, ...]:
        """Return all layers' names in order, without the inputs; a second use gets `_1`."""
        return tuple(self._nodes)

    def getLayerId(self, layer: str) -> int:
        """Return a layer's number, from 1 on; -1 if there is none."""
        names = self.getLayerNames()
        return names.index(layer) + 1 if layer in names else -1

    def getLayer(self, layerId: str | int) -> Layer:
        """Return a layer by its number or name."""
        node = self._node(layerId)
        name = self.getLayerNames()[layerId - 1] if isinstance(layerId, int) else layerId
        index = next(i for i, other in enumerate(self._graph.nodes) if other is node)
        return Layer(name, node.layer.proto.type, self._reshaping, index)

    def getParam(self, layer: str | int, numParam: int = 0) -> Array:
        """Return one of a layer's parameters."""
        return self.getLayer(layer).blobs[numParam]

    def getLayerTypes(self) -> tuple[str, ...]:
        """Return the types of the layers, sorted."""
        return tuple(sorted({node.layer.proto.type for node in self._nodes.values()}))

    def getLayersCount(self, layerType: str) -> int:
        """Return the number of layers of a type."""
        return sum(node.layer.proto.type == layerType for node in self._nodes.values())

    def getUnconnectedOutLayers(self) -> NDArray[np.int32]:
        """Return the numbers of the layers whose outputs no layer reads."""
        return np.array(unconnected(self._nodes), np.int32)

    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:
        """Return the names of the layers whose outputs no layer reads."""
        names = self.getLayerNames()
        return tuple(names[number - 1] for number in unconnected(self._nodes))

    def getPerfProfile(self) -> tuple[int, NDArray[np.float64]]:
        """Return the last forward's time in ns (cv2.getTickFrequency is 1e9), no layer's own."""
        return self._nanoseconds, np.zeros(0)

    @property
    def _reshaping(self) -> Reshaping:
        if self._net is None:
            raise CaffeCompatError("the net is empty; read one with readNetFromCaffe")
        return self._net

    @property
    def _graph(self) -> Graph:
        return self._reshaping.net.graph

    @property
    def _nodes(self) -> dict[str, Node]:
        return named_nodes(self._graph)

    def _node(self, layer: str | int) -> Node:
        return find_node(self._nodes, layer)

    # -- settings ----------------------------------------------------------------------------

    def setPreferableBackend(self, backendId: int) -> None:
        """Ignore the backend: onnxruntime runs the net, on setPreferableTarget's device."""

    def setPreferableTarget(self, targetId: int) -> None:
        """Choose the device: the first GPU for DNN_TARGET_CUDA; the CPU for other targets.

        Raises:
            DeviceError: at the next run, if this onnxruntime has no CUDA.
        """
        if targetId not in _DEVICES:
            log_once(f"target {targetId}: onnxruntime has no such device; running on the CPU")
        self._reshaping.place(_DEVICES.get(targetId, "cpu"))

    def setInputShape(self, inputName: str, shape: Sequence[int]) -> None:
        """Change an input's shape; setInput may change it again."""
        if inputName not in [value.blob for value in self._graph.inputs]:
            raise ShapeError(f"the net has no input '{inputName}'")
        others = {v.blob: v.dims for v in self._graph.inputs if v.blob != inputName}
        self._reshaping.rebuild({**others, inputName: tuple(shape)})

    def enableFusion(self, fusion: bool) -> None:
        """Do nothing: onnxruntime always fuses."""

    def enableWinograd(self, useWinograd: bool) -> None:
        """Do nothing: onnxruntime has no such choice."""


def _opencv_rows(node: Node, output: Array, images: int) -> Array:
    """Return OpenCV's fixed number of rows for DetectionOutput: keep_top_k an image, then zeros."""
    if node.layer.proto.type != "DetectionOutput":
        return output
    keep = node.layer.proto.detection_output_param.keep_top_k
    rows = np.zeros((1, 1, max(images * keep, output.shape[2]), 7), np.float32)
    if output[0, 0, 0, 1] != -1:  # Caffe's sign for no detections
        rows[:, :, : output.shape[2]] = output
    return rows
