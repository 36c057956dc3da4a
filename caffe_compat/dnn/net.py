"""OpenCV's Net: setInput, forward, and questions about the layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CaffeCompatError, ShapeError
from ..images.blob_images import per_channel
from ..net.graph import Graph
from ..net.net import Net as Weighted
from ..runtime.devices import log_once
from ..runtime.reshaping import Reshaping
from ..types import Array, Shape
from . import constants
from .layers import Layer, Named, as_opencv, find_layer, named_layers, unconnected

_DEVICES = {
    constants.DNN_TARGET_CPU: "cpu",
    constants.DNN_TARGET_CPU_FP16: "cpu",
    constants.DNN_TARGET_CUDA: "cuda",
    constants.DNN_TARGET_CUDA_FP16: "cuda",
}


class Net:
    """A net whose inputs, set by setInput, may have any shape that it can have.

    Args:
        load: loads the net with its weights for inputs of these shapes, by name, which the
            prototxt may lack; None: an empty net.
        first: the name of the first input.
        shapeless: whether the prototxt lacks the shape of an `input:`.
    """

    def __init__(
        self,
        load: Callable[[Mapping[str, Shape]], Weighted] | None = None,
        first: str = "",
        *,
        shapeless: bool = False,
    ) -> None:
        self._load, self._first = load, first
        self._net: Reshaping | None = None
        self._feeds: dict[str, Array] = {}
        self._nanoseconds = 0
        if load:
            try:
                self._net = Reshaping(load({}))
            except ShapeError as error:
                if "inputs" not in error.remedies and not shapeless:
                    raise

    def empty(self) -> bool:
        """Return whether there is no net."""
        return self._load is None

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
        x = np.array(blob, np.float32, order="C")
        shift = per_channel(mean, x.shape[1] if x.ndim == 4 else 1)
        if np.any(shift != 0):
            x = x - (shift if x.ndim == 4 else shift.ravel())
        x = x * np.float32(scalefactor) if scalefactor != 1 else x
        if self._net is None and self._load:
            self._feeds[name or self._first] = x  # its shape is what the net is then built for
            return
        inputs = [value.blob for value in self._graph.inputs]
        if name and name not in inputs:
            raise ShapeError(f"the net has no input '{name}'; its inputs: {', '.join(inputs)}")
        self._feeds[name or inputs[0]] = x

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
        outputs = [first for (first,) in self._run([str(name) for name in names], 1)]
        self._nanoseconds = time.perf_counter_ns() - start
        return outputs[0] if single else tuple(outputs)

    def forwardAndRetrieve(self, outBlobNames: Sequence[str]) -> tuple[tuple[Array, ...], ...]:
        """Run the net and return every output of each of the layers."""
        return tuple(tuple(outputs) for outputs in self._run(outBlobNames))

    def _run(self, names: Sequence[str], most: int | None = None) -> list[list[Array]]:
        """Return the outputs of each of the layers, the first `most` of them."""
        self._reshaping.fit(self._feeds)
        layers = [self._layer(name) for name in names]
        wanted = [value for layer in layers for value in layer.outputs[:most]]
        outputs = iter(self._reshaping.run(self._feeds, wanted))
        images = len(next(iter(self._feeds.values())))
        return [
            as_opencv(layer, [next(outputs) for _ in layer.outputs[:most]], images)
            for layer in layers
        ]

    # -- layers ------------------------------------------------------------------------------

    def getLayerNames(self) -> tuple[str, ...]:
        """Return all layers' names in order, without the inputs; a second use gets `_1`."""
        return tuple(self._layers)

    def getLayerId(self, layer: str) -> int:
        """Return a layer's number, from 1 on; -1 if there is none."""
        names = self.getLayerNames()
        return names.index(layer) + 1 if layer in names else -1

    def getLayer(self, layerId: str | int) -> Layer:
        """Return a layer by its number or name."""
        place, node, _ = self._layer(layerId)
        name = self.getLayerNames()[layerId - 1] if isinstance(layerId, int) else layerId
        return Layer(name, node.layer.proto.type, self._reshaping, place)

    def getParam(self, layer: str | int, numParam: int = 0) -> Array:
        """Return one of a layer's parameters."""
        return self.getLayer(layer).blobs[numParam]

    def getLayerTypes(self) -> tuple[str, ...]:
        """Return the types of the layers, sorted."""
        return tuple(sorted({named.node.layer.proto.type for named in self._layers.values()}))

    def getLayersCount(self, layerType: str) -> int:
        """Return the number of layers of a type."""
        return sum(n.node.layer.proto.type == layerType for n in self._layers.values())

    def getUnconnectedOutLayers(self) -> NDArray[np.int32]:
        """Return the numbers of the layers whose outputs no layer reads."""
        return np.array(unconnected(self._layers), np.int32)

    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:
        """Return the names of the layers whose outputs no layer reads."""
        names = self.getLayerNames()
        return tuple(names[number - 1] for number in unconnected(self._layers))

    def getPerfProfile(self) -> tuple[int, NDArray[np.float64]]:
        """Return the last forward's time in ns (cv2.getTickFrequency is 1e9), no layer's own."""
        return self._nanoseconds, np.zeros(0)

    @property
    def _reshaping(self) -> Reshaping:
        if self._load is None:
            raise CaffeCompatError("the net is empty; read one with readNetFromCaffe")
        if self._net is None:  # the prototxt has no shape for an input, and setInput gives it
            if not self._feeds:
                raise ShapeError("the prototxt has no shape for an input; setInput gives it")
            shapes = {name: array.shape for name, array in self._feeds.items()}
            self._net = Reshaping(self._load(shapes))
        return self._net

    @property
    def _graph(self) -> Graph:
        return self._reshaping.net.graph

    @property
    def _layers(self) -> dict[str, Named]:
        return named_layers(self._graph)

    def _layer(self, layer: str | int) -> Named:
        return find_layer(self._layers, layer)

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
