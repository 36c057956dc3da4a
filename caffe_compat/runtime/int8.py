"""A pass to 8-bit integers: a quarter of the size, and faster on CPUs with int8 instructions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnx

from ..errors import CaffeCompatError
from ..layers.layer import Layer
from ..layers.regions import Regions
from ..net.graph import Graph
from ..onnx.lowering import Lowered
from .calibration import Ranges, operators
from .models import join, split
from .tools import quiet

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def to_int8(
    lowered: Lowered, ranges: Ranges, float_layers: Collection[str] = (), *, vnni: bool = False
) -> Lowered:
    """Quantize a float32 model in QDQ form: weights per channel, activations per tensor.

    The layers behind the last weights, such as Softmax and the decoding of detections, stay
    float32.

    Args:
        lowered: the model.
        ranges: the min and max of its tensors, from `calibrate` on the same model.
        float_layers: further layers that stay float32; see `coordinate_layers`.
        vnni: use all 8 bits of the weights, for a CPU that sums int8 products in 32 bits (x86
            with VNNI, ARM) or a GPU. By default 7: on other x86 CPUs two products of 8 bits
            saturate a sum of 16.

    Raises:
        DeviceError: onnxruntime, which quantizes, is not installed.
        CaffeCompatError: its quantizer fails; the ranges are those of another model.
    """
    with quiet("quantize the model"):
        from onnxruntime.quantization import QDQQuantizer, QuantType
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

        model = onnx.shape_inference.infer_shapes(join(lowered))
        if not ranges.keys() & {name for node in model.graph.node for name in node.input}:
            raise CaffeCompatError("ranges has none of the model's tensors; calibrate this model")
        quantizer = QDQQuantizer(
            model,
            True,  # per channel
            not vnni,  # reduce the range of the weights to 7 bits
            QuantType.QInt8,
            QuantType.QUInt8,
            TensorsData(
                CalibrationMethod.MinMax,
                {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
            ),
            [],
            _float_nodes(model, float_layers),
            operators(),
            {},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    quantized = split(quantizer.model.model)
    return replace(quantized, changed=tuple(lowered.params), dims=lowered.dims)


def coordinate_layers(graph: Graph) -> set[str]:
    """Return the layers that compute with coordinates or indices, too many for 8 bits.

    They have no weights and pass no gradient (PriorBox, Proposal, ArgMax, ...), or read regions.
    """
    return {
        node.layer.name
        for node in graph.nodes
        if isinstance(node.layer, Regions)
        or (node.bottoms and not node.blobs and type(node.layer).backward is Layer.backward)
    }


def _float_nodes(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """Return the nodes of `layers`, and those that no node with weights follows."""
    names = []
    before: set[str] = set()  # the tensors that a node with weights depends on
    for node in reversed(model.graph.node):
        if node.op_type in _WEIGHTED or not before.isdisjoint(node.output):
            before.update(node.input)
        else:
            names.append(node.name)
        if node.name in layers or node.name.rpartition("/")[0] in layers:
            names.append(node.name)
    return names
