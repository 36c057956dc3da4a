"""Every value of a net and the gradients at them, by torch's autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..net.graph import Value
from ..net.net import Net
from ..types import Array
from .build import build


def backpropagate(
    net: Net,
    values: Sequence[Value],
    feeds: Mapping[str, Array],
    diffs: Mapping[str, Array],
    watch: Callable[[str, Array], None],
) -> dict[str, Array]:
    """Return values of a net on the CPU, by `Value.name`, and show the gradients to the caller.

    No gradient of a parameter is computed, and none at a value outlives its use.

    Args:
        net: the net with its weights, computed as in TEST.
        values: any of the graph's.
        feeds: an array for each input, by blob.
        diffs: the gradients to start from, by `Value.name`.
        watch: called with the name of each value that a gradient reaches, and the gradient.

    Raises:
        UnsupportedError: the layers that neither torch nor numpy can compute, all at once.
    """
    module = build(net, values, versions=True).eval().requires_grad_(False)
    names = {value.blob: value.name for value in net.graph.inputs}
    blobs = list(module.names.inputs.values())
    inputs = {blob: torch.from_numpy(feeds[blob].copy()).requires_grad_() for blob in blobs}
    outputs = module(*inputs.values())
    outputs = outputs if isinstance(outputs, dict) else {values[0].name: outputs}
    tensors = {**outputs, **{names[blob]: tensor for blob, tensor in inputs.items()}}
    for name, tensor in tensors.items():
        if tensor.requires_grad:
            tensor.register_hook(_hook(name, watch))
    starts = [name for name in diffs if tensors[name].requires_grad]
    if starts:
        grads = [torch.from_numpy(diffs[name]) for name in starts]
        reached = [inputs[blob] for blob in blobs]
        torch.autograd.grad([tensors[name] for name in starts], reached, grads, allow_unused=True)
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def _hook(name: str, watch: Callable[[str, Array], None]) -> Callable[[Tensor | None], None]:
    def hook(gradient: Tensor | None) -> None:
        if gradient is not None:  # a layer with Caffe's own gradient has none for its labels
            watch(name, gradient.numpy())

    return hook
