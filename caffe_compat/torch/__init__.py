"""Nets as torch modules, with gradients on any device.

    module = caffe_compat.to_torch("net.prototxt", "net.caffemodel")
    outputs = module(data)

Every layer is read from its ONNX form (`pieces`), operator by operator (`operators`), and becomes
a line of the module's code: a module of torch's (`modules`), a function, or a module of its own
with Caffe's blobs (`forms`). `build` puts them together as a `CaffeModule`.

For the rooms above, gradients at any value:

    module = build(net, outputs)          # outputs: any `Value` of the graph
    module.train()                        # TRAIN, layer by layer; eval() is TEST
    draw_from(module, BoostRng(1701))     # masks and slopes from Caffe's stream, in its order
    values = module(data, label)          # tensors that know their past
    loss = module.total_loss(values)      # the sum by loss weights
    torch.autograd.grad(loss, [values["conv1"], *module.parameters()])
"""

from __future__ import annotations

import importlib.util

from ..errors import CaffeCompatError

if importlib.util.find_spec("torch") is None:
    raise CaffeCompatError(
        "PyTorch is not installed: pip install 'caffe_compat[torch]' (for CPUs alone pytorch.org "
        "has a smaller build: pip install torch --index-url https://download.pytorch.org/whl/cpu)"
    )

from .build import build
from .drawing import draw_from
from .exporting import export
from .loading import to_torch
from .module import CaffeModule
from .names import NameMap
from .opening import open_sizes
from .source import write_source
from .values import compute, compute_by_source

__all__ = [
    "CaffeModule",
    "NameMap",
    "build",
    "compute",
    "compute_by_source",
    "draw_from",
    "export",
    "open_sizes",
    "to_torch",
    "write_source",
]
