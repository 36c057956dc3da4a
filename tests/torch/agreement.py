"""A net's torch module beside numpy or real Caffe: values and gradients."""

from __future__ import annotations

import numpy as np
import torch

from caffe_compat.net.net import Net
from caffe_compat.torch import CaffeModule, build

from ..cases import assert_close


def outputs_of(net: Net):
    """The net's outputs; of a net without any, its unnamed losses."""
    unnamed = [top for node in net.graph.nodes for top in node.tops if not node.layer.proto.top]
    return list(net.graph.outputs) or unnamed


def run(module: CaffeModule, feeds, device="cpu"):
    """The module's inputs, which gradients reach, and its outputs, both by their blobs' names."""
    inputs = {name: torch.tensor(array, device=device) for name, array in feeds.items()}
    for tensor in inputs.values():
        tensor.requires_grad_()
    outputs = module(*(inputs[blob] for blob in module.names.inputs.values()))
    if not isinstance(outputs, dict):
        outputs = {next(iter(module.origin.outputs)): outputs}
    return inputs, outputs


def tensors_of(module: CaffeModule):
    """The parameters and buffers by (layer, blob)."""
    tensors = {
        **dict(module.named_buffers()),
        **dict(module.named_parameters(remove_duplicate=False)),
    }
    return {place: tensors[key] for key, place in module.names.params.items()}


def assert_gradients(tensor, want, what):
    """A tensor's gradient is the one that is wanted; none is 0."""
    grad = (
        np.zeros(want.shape)
        if tensor.grad is None
        else tensor.grad.cpu().numpy().reshape(want.shape)
    )
    assert_close(grad, want, 1e-4, what)


def check(net: Net, feeds, values, diffs=None):
    """Module and numpy agree; `values` are numpy's, `diffs` what is fed back, if anything is."""
    outputs = outputs_of(net)
    module = build(net, outputs)
    inputs, tensors = run(module, feeds)
    for value in outputs:
        assert_close(tensors[value.blob].detach().numpy(), values[value.name], 1e-5, value.blob)
    if diffs is None:
        return
    grads, params = net.backward(values, diffs)
    roots = [blob for blob in diffs if tensors[blob].requires_grad]
    torch.autograd.backward([tensors[b] for b in roots], [torch.tensor(diffs[b]) for b in roots])
    for value in net.graph.inputs:
        if value.blob in inputs and value.name in grads:
            assert_gradients(inputs[value.blob], grads[value.name], value.blob)
    layers = [node.layer.name for node in net.graph.nodes]
    for (layer, blob), tensor in tensors_of(module).items():
        want = params[layers.index(layer)][blob]
        if want is not None:
            assert_gradients(tensor, want, f"{layer} {blob}")
