"""Every value of a net by its torch module, as numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..net.graph import Value
from ..net.net import Net
from ..types import Array
from .build import build


def compute(net: Net, values: Sequence[Value], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return values of a net on the CPU, by `Value.name`.

    Args:
        net: the net with its weights.
        values: any of the graph's, several versions of one blob too.
        feeds: an array for each input, by blob.

    Raises:
        UnsupportedError: the layers that neither torch nor numpy can compute, all at once.
    """
    module = build(net, values, versions=True)
    inputs = [torch.from_numpy(feeds[blob].copy()) for blob in module.names.inputs.values()]
    with torch.no_grad():
        outputs = module(*inputs)
    outputs = outputs if isinstance(outputs, dict) else {values[0].name: outputs}
    return {name: tensor.numpy() for name, tensor in outputs.items()}
