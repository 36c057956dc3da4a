"""Rewrites of a module's graph that change no number: less memory, and one pass where two were."""

from __future__ import annotations

import operator
from collections.abc import Collection

from torch import fx, nn

from .batch_norm import BatchNorm

# Modules whose backward pass does not read their output, so that a ReLU may overwrite it.
_FORGETFUL = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
    nn.BatchNorm2d,
)


def fuse_scales(module: fx.GraphModule, scales: Collection[str]) -> None:
    """Let a BatchNorm scale and shift for the Scale that is its one reader, in the same pass.

    The Scale stays in its place with its parameters.

    Args:
        module: the module whose graph changes.
        scales: the submodules that multiply each channel by a `scale`, and may add a `bias`.
    """
    parts = dict(module.named_modules())
    for node in module.graph.nodes:
        if node.op != "call_module" or node.target not in scales:
            continue
        norm, scale = node.args[0], parts[node.target]
        if norm.op != "call_module" or len(norm.users) > 1:
            continue
        if not isinstance(parts[norm.target], BatchNorm):
            continue
        blobs = [name for name in ("scale", "bias") if hasattr(scale, name)]
        with module.graph.inserting_before(node):
            reads = [module.graph.get_attr(f"{node.target}.{name}") for name in blobs]
        name = node.name
        node.target, node.args = norm.target, (*norm.args, *reads)
        module.graph.erase_node(norm)
        node._rename(name)
    module.recompile()


def overwrite(module: fx.GraphModule) -> None:
    """Let a ReLU work in place where nothing else reads its input."""
    parts = dict(module.named_modules())
    for node in module.graph.nodes:
        if node.op != "call_module" or not isinstance(parts[node.target], nn.ReLU):
            continue
        source = node.args[0]
        forgetful = source.target is operator.add
        if source.op == "call_module":
            forgetful = isinstance(parts[source.target], _FORGETFUL)
        if forgetful and len(source.users) == 1:
            parts[node.target].inplace = True
