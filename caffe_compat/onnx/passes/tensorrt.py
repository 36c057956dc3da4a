"""Write for TensorRT what its parser takes, and refuse what it cannot compute.

By onnx-tensorrt's table of operators MaxPool has no Indices, NonZero takes no bool, and there is no
Compress. Other operators that it lacks are computed on CUDA, in the same session.
"""

from __future__ import annotations

import onnx

from ...errors import UnsupportedError
from ...layers.builder import FLOAT
from ...net.net import Net
from ..lowering import Lowered
from ..rewriting import Rewriter, Rule, rewrite
from . import gpu
from .opencv import find_layer
from .webgpu import write_indices

TENSORRT_LACKS = {"Compress": "has no Compress, whose number of rows depends on the data"}


def fit(lowered: Lowered, net: Net) -> Lowered:
    """Return the model in operators that TensorRT computes.

    Args:
        lowered: the net as ONNX.
        net: the net, for its layers' names.

    Raises:
        UnsupportedError: it cannot compute layers; all are named.
    """
    types = {node.layer.name: node.layer.proto.type for node in net.graph.nodes}
    layers = {
        find_layer(node.name, types): TENSORRT_LACKS[node.op_type]
        for node in lowered.model.graph.node
        if node.op_type in TENSORRT_LACKS
    }
    if layers:
        refused = "; ".join(
            f"layer '{name}' ({types.get(name, 'ONNX')}): TensorRT {why}"
            for name, why in layers.items()
        )
        raise UnsupportedError(f"{refused}; target='cuda' computes it", remedies=("target",))
    fitted = gpu.fit(lowered)
    sizes = gpu.fixed_sizes(fitted)

    def pool(g: Rewriter, node: onnx.NodeProto) -> tuple[str, ...] | None:
        return write_indices(g, node, sizes)

    rules: dict[str, Rule] = {"MaxPool": pool, "NonZero": _non_zero}
    return rewrite(fitted, rules)


def _non_zero(g: Rewriter, node: onnx.NodeProto) -> str:
    return g.NonZero(g.Cast(node.input[0], to=FLOAT))
