"""The error of float32 itself: how far numpy's own results are from those in float64."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ..errors import CaffeCompatError
from ..memory import require
from ..net.graph import Node
from ..net.net import Net
from ..types import AnyArray, Array
from .differences import Difference, Verification, distance


def with_rounding(
    result: Verification, net: Net, feeds: Mapping[str, AnyArray], values: Mapping[str, Array]
) -> Verification:
    """Return a comparison with the error of float32 at each difference above the tolerance.

    A sum that cancels, or a deep net, takes the last bit of its operands to the first of its
    result; two engines that both round then differ by as much as each from the exact value.

    Args:
        result: the comparison of float32 with float32.
        net: the net.
        feeds: its input.
        values: what numpy computed from it in float32, by `Value.name`.
    """
    tops = {
        (f"'{n.layer.name}' ({n.layer.proto.type})", t.blob): (i, t.name)
        for i, n in enumerate(net.graph.nodes)
        for t in n.tops
    }

    def of_layer(each: Difference) -> Difference:
        index, name = tops[each.layer, each.blob]
        if each.largest <= result.tolerance.layer or net.graph.nodes[index].layer.samples:
            return each
        return replace(each, rounding=_error(_alone(net, index, values).get(name), values[name]))

    layers = tuple(map(of_layer, result.differences))
    if all(each.largest <= result.tolerance.net for each in result.outputs):
        return replace(result, differences=layers)
    exact = _whole(net, feeds)
    ends = tuple(
        replace(each, rounding=_error(exact.get(name), values[name]))
        for each in result.outputs
        for _, name in [tops[each.layer, each.blob]]
    )
    return replace(result, differences=layers, outputs=ends)


def _error(exact: AnyArray | None, value: Array) -> float:
    error = 0.0 if exact is None else distance(value, exact)
    return error if np.isfinite(error) else 0.0


def _alone(net: Net, index: int, values: Mapping[str, Array]) -> dict[str, AnyArray]:
    """Return a layer's tops in float64, from float32's bottoms; none where it cannot run."""
    node = net.graph.nodes[index]
    with suppress(CaffeCompatError, TypeError, ValueError):
        return _forward(net, index, [values[value.name] for value in node.bottoms])
    return {}


def _whole(net: Net, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return all values in float64 as far as its layers can run, by `Value.name`."""
    values: dict[str, AnyArray] = dict(net.fed(feeds))
    with suppress(CaffeCompatError, TypeError, ValueError, MemoryError):
        require(2 * net.graph.size, "the net's blobs in float64")
        for index, node in enumerate(net.graph.nodes):
            if not _is_fed(node):
                values |= _forward(net, index, [values[value.name] for value in node.bottoms])
    return values


def _is_fed(node: Node) -> bool:
    return bool(node.tops) and len(node.layer.feeds()) == len(node.tops)


def _forward(net: Net, index: int, x: list[AnyArray]) -> dict[str, AnyArray]:
    node = net.graph.nodes[index]
    blobs = {name: array.astype(np.float64) for name, array in net.blobs_of(index).items()}
    with np.errstate(all="ignore"), node.layer.named():
        tops = node.layer.forward(*(each.astype(np.float64) for each in x), **blobs)
    outputs = tops if isinstance(tops, tuple) else (tops,)
    return {top.name: array for top, array in zip(node.tops, outputs, strict=True)}
