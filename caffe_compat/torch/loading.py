"""`caffe_compat.to_torch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import CaffeCompatError
from ..net.graph import Graph, Value
from ..net.net import Net
from ..net.preprocess import PRESETS, Preprocess, from_prototxt
from ..net.showing import show
from ..pipeline import load
from ..weights.trained import Weights
from .build import build
from .module import CaffeModule
from .opening import open_sizes
from .transform import Transform


def to_torch(
    net: Net | str | Path,
    weights_file: str | Path | Weights | None = None,
    *,
    blobs: Sequence[str] = (),
    logits: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    preprocess: Preprocess | str | None = None,
    **reading: Any,
) -> CaffeModule:
    """Return a net as a torch module.

    >>> module = caffe_compat.to_torch("deploy.prototxt", "net.caffemodel")
    >>> module.conv1
    Conv2d(3, 96, kernel_size=(11, 11), stride=(4, 4))
    >>> probabilities = module(torch.zeros(8, 3, 227, 227))

    A net of the TEST phase is in `eval()` mode, one of TRAIN in `train()`; either does both.

    Args:
        net: the net with its weights, or the path of its prototxt.
        weights_file: with a path, the caffemodel or Caffe's HDF5; None: the fillers draw.
        blobs: blobs to return beside the net's outputs.
        logits: return what goes into the Softmax or the loss at the net's end, in its place.
        device: where the parameters are to be.
        dtype: their type.
        preprocess: how a picture becomes the input, or a name in `PRESETS`; by default as the
            prototxt's transform_param has it.
        reading: with a path, what `load` takes: phase, stages, inputs, batch, fork and so on.

    Raises:
        UnsupportedError: the layers that neither torch nor numpy can compute, all at once.
        CaffeCompatError: as for `load`.
    """
    if not isinstance(net, Net):
        folder = Path(net).parent
        net = load(net, weights_file, **reading)
        preprocess = preprocess or _preprocess(net, folder)
    elif weights_file is not None or reading:
        raise CaffeCompatError("a net that is loaded takes no weights_file and no options of load")
    if isinstance(preprocess, str):
        preprocess = _preset(preprocess)
    inputs = net.graph.inputs
    net = open_sizes(net)
    graph = net.graph
    outputs = _logits(graph) if logits else _outputs(graph)
    net, extra = show(net, blobs)
    outputs += [value for value in extra if value.name not in {each.name for each in outputs}]
    module = build(net, outputs)
    module.origin.shapes = {value.blob: value.shape for value in inputs}  # of the prototxt
    images = [value.dims for value in inputs if len(value.dims) == 4]
    module.origin.preprocess = Transform(preprocess, images[0] if images else ())
    return module.to(device=device, dtype=dtype)


def _preset(name: str) -> Preprocess:
    if name not in PRESETS:
        raise CaffeCompatError(f"preprocess is one of {', '.join(PRESETS)}, not '{name}'")
    return PRESETS[name]


def _preprocess(net: Net, folder: Path) -> Preprocess | None:
    """Return the prototxt's own, or None if its mean file is elsewhere."""
    try:
        return from_prototxt(net.graph.net, folder)
    except CaffeCompatError:
        return None


def _outputs(graph: Graph) -> list[Value]:
    """Return the net's outputs; of a net without any, its unnamed losses."""
    unnamed = [top for node in graph.nodes for top in node.tops if not node.layer.proto.top]
    return list(graph.outputs) or unnamed


def _logits(graph: Graph) -> list[Value]:
    """Return the bottoms of the layers at the net's end that score or normalize, each once."""
    makers = {top.name: node for node in graph.nodes for top in node.tops}
    found: dict[str, Value] = {}
    for value in _outputs(graph):
        node = makers[value.name]
        while node.bottoms and (node.layer.loss or node.layer.type in ("Softmax", "Accuracy")):
            value = node.bottoms[0]
            node = makers[value.name]
        found[value.name] = value
    return list(found.values())
