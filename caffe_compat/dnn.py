"""cv2.dnn for Caffe models, where OpenCV 5 no longer reads them: the same names, onnxruntime below.

>>> from caffe_compat import dnn            # was: from cv2 import dnn
>>> net = dnn.readNetFromCaffe("deploy.prototxt", "net.caffemodel")
>>> net.setInput(dnn.blobFromImage(image, 1.0, (300, 300), (104, 177, 123)))
>>> detections = net.forward()

What is here does what OpenCV 4.14 does: its layer names and numbers, its pictures bit for bit,
its shapes; the numbers are Caffe's. Errors are this package's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import pipeline
from .errors import CaffeCompatError, ShapeError
from .images.blob_images import NMSBoxes, blobFromImage, blobFromImages, per_channel
from .net.graph import Graph, Node
from .net.net import Net as Weighted
from .runtime.devices import log_once
from .runtime.reshaping import Reshaping
from .types import Array

__all__ = [
    "Layer",
    "NMSBoxes",
    "Net",
    "blobFromImage",
    "blobFromImages",
    "readNet",
    "readNetFromCaffe",
]

DNN_BACKEND_DEFAULT, DNN_BACKEND_HALIDE, DNN_BACKEND_INFERENCE_ENGINE = 0, 1, 2
DNN_BACKEND_OPENCV, DNN_BACKEND_VKCOM, DNN_BACKEND_CUDA = 3, 4, 5
DNN_BACKEND_WEBNN, DNN_BACKEND_TIMVX, DNN_BACKEND_CANN = 6, 7, 8
DNN_TARGET_CPU, DNN_TARGET_OPENCL, DNN_TARGET_OPENCL_FP16, DNN_TARGET_MYRIAD = 0, 1, 2, 3
DNN_TARGET_VULKAN, DNN_TARGET_FPGA, DNN_TARGET_CUDA, DNN_TARGET_CUDA_FP16 = 4, 5, 6, 7
DNN_TARGET_HDDL, DNN_TARGET_NPU, DNN_TARGET_CPU_FP16 = 8, 9, 10

_DEVICES = {
    DNN_TARGET_CPU: "cpu",
    DNN_TARGET_CPU_FP16: "cpu",
    DNN_TARGET_CUDA: "cuda",
    DNN_TARGET_CUDA_FP16: "cuda",
}

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]


def readNetFromCaffe(
    prototxt: str | Path | Buffer,
    caffeModel: str | Path | Buffer = "",
    *,
    fork: str | None = None,
) -> Net:
    """A net from a prototxt and a caffemodel, each a file or a buffer.

    Args:
        prototxt: the net; text always means a file's name.
        caffeModel: its weights; empty: drawn from the prototxt's fillers.
        fork: whose layers those are that forks of Caffe define differently under one name.

    Raises:
        CaffeCompatError: as `caffe_compat.load` does.
    """
    with_weights = not isinstance(caffeModel, str) or caffeModel != ""
    if isinstance(prototxt, str | Path) and isinstance(caffeModel, str | Path):
        return Net(pipeline.load(prototxt, caffeModel if with_weights else None, fork=fork))
    # What is read stays open, and needs its name no longer; where it does (Windows), it stays.
    with tempfile.TemporaryDirectory("caffe_compat", ignore_cleanup_errors=True) as folder:
        net = _file(prototxt, folder, "net.prototxt")
        weights = _file(caffeModel, folder, "net.caffemodel") if with_weights else None
        return Net(pipeline.load(net, weights, fork=fork))


def readNet(model: str | Path, config: str | Path = "", framework: str = "") -> Net:
    """A net from a caffemodel and a prototxt, in any order.

    Raises:
        CaffeCompatError: they are another framework's, or cannot be read.
    """
    names = [str(name) for name in (model, config) if str(name)]
    text = [name for name in names if name.endswith((".prototxt", ".pbtxt"))]
    if len(text) != 1 or framework.lower() not in ("", "caffe"):
        raise CaffeCompatError(
            f"{', '.join(names)}: readNet reads a .prototxt and its .caffemodel "
            "here; for others use cv2.dnn.readNet"
        )
    return readNetFromCaffe(text[0], *(name for name in names if name not in text))


def _file(source: str | Path | Buffer, folder: str, name: str) -> Path:
    if isinstance(source, str | Path):
        return Path(source)
    path = Path(folder, name)
    path.write_bytes(np.frombuffer(source, np.uint8).tobytes())
    return path


class Layer:
    """A layer, as getLayer gives it.

    Attributes:
        name: its name.
        type: Caffe's type.
    """

    def __init__(self, name: str, type: str, held: Reshaping, index: int) -> None:
        self.name, self.type = name, type
        self._held, self._index = held, index

    @property
    def blobs(self) -> tuple[Array, ...]:
        """Its parameters; to set them changes the net, those that are not given to zeros.

        Raises:
            ShapeError: more are given than the layer has, or of another size.
        """
        return self._held.net.arrays[self._index]

    @blobs.setter
    def blobs(self, given: Sequence[ArrayLike]) -> None:
        self._held.change(self._index, [np.array(array, np.float32) for array in given])


class Net:
    """A net that takes inputs by setInput, of any shape that it can have, and answers by forward.

    Args:
        net: the net with its weights; None: an empty one.
    """

    def __init__(self, net: Weighted | None = None) -> None:
        self._reshaping = None if net is None else Reshaping(net)
        self._fed: dict[str, Array] = {}
        self._nanoseconds = 0

    def empty(self) -> bool:
        """Whether there is no net."""
        return self._reshaping is None

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
            name: the input's; empty: the first one's.
            scalefactor: multiplies.
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
        self._fed[name or inputs[0]] = x * np.float32(scalefactor) if scalefactor != 1 else x

    def forward(self, outputName: str | Sequence[str] | None = None) -> Any:
        """Run the net.

        Args:
            outputName: a layer's name, or several; None or empty: the last layer.

        Returns:
            The layer's first output, or for several names a tuple of these.

        Raises:
            ShapeError: no such layer or output; inputs that were not set, or do not fit.
        """
        start = time.perf_counter_ns()
        single = outputName is None or isinstance(outputName, str)
        names = [outputName or self.getLayerNames()[-1]] if single else list(outputName or ())
        made = self._run([str(name) for name in names])
        self._nanoseconds = time.perf_counter_ns() - start
        return made[0] if single else tuple(made)

    def forwardAndRetrieve(self, outBlobNames: Sequence[str]) -> tuple[tuple[Array, ...], ...]:
        """Run the net; every output of every layer named."""
        self._held.fit(self._fed)
        tops = [self._node(name).tops for name in outBlobNames]
        made = iter(self._held.run(self._fed, [value for own in tops for value in own]))
        return tuple(tuple(next(made) for _ in own) for own in tops)

    def _run(self, names: Sequence[str]) -> list[Array]:
        self._held.fit(self._fed)
        nodes = [self._node(name) for name in names]
        made = self._held.run(self._fed, [node.tops[0] for node in nodes])
        images = len(next(iter(self._fed.values())))
        return [_opencv_rows(*each, images) for each in zip(nodes, made, strict=True)]

    # -- looking -----------------------------------------------------------------------------

    def getLayerNames(self) -> tuple[str, ...]:
        """Every layer's name but the inputs', in order; a name's second use gets `_1`."""
        return tuple(self._nodes)

    def getLayerId(self, layer: str) -> int:
        """A layer's number, from 1 on; -1 if there is none."""
        names = self.getLayerNames()
        return names.index(layer) + 1 if layer in names else -1

    def getLayer(self, layerId: str | int) -> Layer:
        """A layer by its number or name."""
        node = self._node(layerId)
        name = self.getLayerNames()[layerId - 1] if isinstance(layerId, int) else layerId
        index = next(i for i, other in enumerate(self._graph.nodes) if other is node)
        return Layer(name, node.layer.proto.type, self._held, index)

    def getParam(self, layer: str | int, numParam: int = 0) -> Array:
        """One of a layer's parameters."""
        return self.getLayer(layer).blobs[numParam]

    def getLayerTypes(self) -> tuple[str, ...]:
        """The types of the layers, sorted."""
        return tuple(sorted({node.layer.proto.type for node in self._nodes.values()}))

    def getLayersCount(self, layerType: str) -> int:
        """How many layers are of a type."""
        return sum(node.layer.proto.type == layerType for node in self._nodes.values())

    def getUnconnectedOutLayers(self) -> NDArray[np.int32]:
        """The numbers of the layers of which no layer reads anything."""
        read = {value.name for node in self._nodes.values() for value in node.bottoms}
        return np.array(
            [
                number
                for number, node in enumerate(self._nodes.values(), 1)
                if all(value.name not in read for value in node.tops)
            ],
            np.int32,
        )

    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:
        """The names of the layers of which no layer reads anything."""
        names = self.getLayerNames()
        return tuple(names[number - 1] for number in self.getUnconnectedOutLayers())

    def getPerfProfile(self) -> tuple[int, NDArray[np.float64]]:
        """The last forward's time, in nanoseconds (cv2.getTickFrequency is 1e9); no layers'."""
        return self._nanoseconds, np.zeros(0)

    @property
    def _held(self) -> Reshaping:
        if self._reshaping is None:
            raise CaffeCompatError("the net is empty; read one with readNetFromCaffe")
        return self._reshaping

    @property
    def _graph(self) -> Graph:
        return self._held.net.graph

    @property
    def _nodes(self) -> dict[str, Node]:
        """The layers by OpenCV's names."""
        named: dict[str, Node] = {}
        seen: dict[str, int] = {}
        for node in self._graph.nodes:
            if not node.tops or len(node.layer.feeds()) == len(node.tops):
                continue
            name = node.layer.name
            count = seen[name] = seen.get(name, -1) + 1
            named[f"{name}_{count}" if count else name] = node
        return named

    def _node(self, layer: str | int) -> Node:
        nodes = self._nodes
        if isinstance(layer, int):
            if not 1 <= layer <= len(nodes):
                raise ShapeError(f"layers are numbered 1 to {len(nodes)}, not {layer}")
            return list(nodes.values())[layer - 1]
        if layer not in nodes:
            raise ShapeError(f"the net has no layer '{layer}'; its last: {list(nodes)[-1]}")
        return nodes[layer]

    # -- setting -----------------------------------------------------------------------------

    def setPreferableBackend(self, backendId: int) -> None:
        """Taken note of by nothing: onnxruntime runs the net, where setPreferableTarget says."""

    def setPreferableTarget(self, targetId: int) -> None:
        """Where to run: DNN_TARGET_CUDA means the first GPU; what onnxruntime lacks, the CPU.

        Raises:
            DeviceError: at the next run, if this onnxruntime has no CUDA.
        """
        if targetId not in _DEVICES:
            log_once(f"target {targetId}: onnxruntime has no such device; running on the CPU")
        self._held.place(_DEVICES.get(targetId, "cpu"))

    def setInputShape(self, inputName: str, shape: Sequence[int]) -> None:
        """Says an input's shape; setInput says it anew."""
        if inputName not in [value.blob for value in self._graph.inputs]:
            raise ShapeError(f"the net has no input '{inputName}'")
        others = {v.blob: v.dims for v in self._graph.inputs if v.blob != inputName}
        self._held.rebuild({**others, inputName: tuple(shape)})

    def enableFusion(self, fusion: bool) -> None:
        """Without effect: onnxruntime fuses what it can."""

    def enableWinograd(self, useWinograd: bool) -> None:
        """Without effect."""


def _opencv_rows(node: Node, made: Array, images: int) -> Array:
    """OpenCV gives DetectionOutput's rows a fixed number: keep_top_k an image, the rest zeros."""
    if node.layer.proto.type != "DetectionOutput":
        return made
    keep = node.layer.proto.detection_output_param.keep_top_k
    rows = np.zeros((1, 1, max(images * keep, made.shape[2]), 7), np.float32)
    if made[0, 0, 0, 1] != -1:  # Caffe's way to say that nothing was found
        rows[:, :, : made.shape[2]] = made
    return rows
