"""Write for TensorRT what its parser takes, and refuse what it cannot compute.

By onnx-tensorrt's table of operators MaxPool has no Indices, NonZero takes no bool, and there is no
Compress. Other operators that it lacks are computed on CUDA, in the same session.
"""

from __future__ import annotations

from functools import partial

import onnx

from ...errors import UnsupportedError
from ...layers.builder import FLOAT
from ...net.net import Net
from ..lowering import Lowered
from ..rewriting import Rewriter, Rule, rewrite
from . import gpu
from .lacking import name_lacking
from .webgpu import write_indices

TENSORRT_LACKS = {
    "Compress": "TensorRT has no Compress, whose number of rows depends on the data",
    "Dropout": "TensorRT drops nothing, and this Dropout draws at random in every run",
}


def fit(lowered: Lowered, net: Net) -> Lowered:
    """Return the model in operators that TensorRT computes.

    Args:
        lowered: the net as ONNX.
        net: the net, for its layers' names.

    Raises:
        UnsupportedError: it cannot compute layers; all are named.
    """
    refused = "; ".join(name_lacking(lowered, net, lambda node: TENSORRT_LACKS.get(node.op_type)))
    if refused:
        raise UnsupportedError(f"{refused}; target='cuda' computes it", remedies=("target",))
    fitted = gpu.fit(lowered)
    pool = partial(write_indices, sizes=gpu.fixed_sizes(fitted))
    rules: dict[str, Rule] = {"MaxPool": pool, "NonZero": _non_zero}
    return rewrite(fitted, rules)


def _non_zero(g: Rewriter, node: onnx.NodeProto) -> str:
    return g.NonZero(g.Cast(node.input[0], to=FLOAT))
