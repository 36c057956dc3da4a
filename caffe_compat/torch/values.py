"""Every value of a net by its torch module, as numpy arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from runpy import run_path
from typing import Any

import torch

from ..net.graph import Value
from ..net.net import Net
from ..types import Array
from .build import build
from .module import CaffeModule
from .source import write_source


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
    return _run(module, module, values, feeds)


def compute_by_source(
    net: Net, values: Sequence[Value], feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """Return what `compute` does, by the source that `write_source` writes for these values.

    Raises:
        UnsupportedError: a layer runs in numpy.
    """
    module = build(net, values, versions=True)
    with tempfile.TemporaryDirectory() as folder:
        source, _ = write_source(module, folder)
        return _run(module, run_path(str(source))["load"](), values, feeds)


def _run(
    module: CaffeModule,
    function: Callable[..., Any],
    values: Sequence[Value],
    feeds: Mapping[str, Array],
) -> dict[str, Array]:
    """Return the values that a function of the module's inputs returns."""
    inputs = [torch.from_numpy(feeds[blob].copy()) for blob in module.names.inputs.values()]
    with torch.no_grad():
        outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, dict) else {values[0].name: outputs}
    return {name: tensor.numpy() for name, tensor in outputs.items()}
