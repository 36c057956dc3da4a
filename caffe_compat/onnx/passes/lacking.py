"""Name the layers that a reader of ONNX cannot compute."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from ...net.net import Net
from ..lowering import Lowered


def name_lacking(
    lowered: Lowered, net: Net, lack: Callable[[onnx.NodeProto], str | None]
) -> list[str]:
    """Return a line for each layer with a node that a reader cannot compute.

    Args:
        lowered: the net as ONNX.
        net: the net, for its layers' names.
        lack: returns for a node what the reader lacks; None if nothing.
    """
    types = {node.layer.name: node.layer.proto.type for node in net.graph.nodes}
    lines = []
    for node in lowered.model.graph.node:
        if why := lack(node):
            # A node has its layer's name, alone or before the operator's.
            name = node.name if node.name in types else node.name.rpartition("/")[0]
            lines.append(f"layer '{name}' ({types.get(name, 'ONNX')}): {why}")
    return list(dict.fromkeys(lines))
