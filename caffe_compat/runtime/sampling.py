"""Random input for a net, and random weights where it has none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from math import prod

import numpy as np

from ..errors import CaffeCompatError
from ..memory import require
from ..net.net import Net
from ..net.sharing import Place
from ..types import Array
from .rows import with_two_rows

_PASSING = ("Split", "Reshape", "Flatten")  # the layers whose outputs are the same class indices


def random_feeds(net: Net, seed: int = 0) -> dict[str, Array]:
    """Draw N(0, 1) for every input, or class indices if a layer looks them up.

    Args:
        net: the net; every input has a fixed shape.
        seed: the seed of numpy's generator.

    Raises:
        CaffeCompatError: there is not the memory for them.
    """
    require(4 * sum(prod(value.shape) for value in net.graph.inputs), "the inputs")
    rng = np.random.default_rng(seed)
    classes = _classes(net)
    return {
        value.blob: rng.integers(0, classes[value.name], value.shape).astype(np.float32)
        if value.name in classes
        else rng.standard_normal(value.shape, np.float32)
        for value in net.graph.inputs
    }


def _classes(net: Net) -> dict[str, int]:
    """Return the number of classes for each value of class indices, by `Value.name`."""
    counts: dict[str, int] = {}
    for node in reversed(net.graph.nodes):
        shapes = [value.shape for value in node.bottoms]
        for bottom, classes in node.layer.classes(*shapes).items():
            name = node.bottoms[bottom].name
            counts[name] = min(classes, counts.get(name, classes))
        for top in node.tops:
            if top.name in counts and node.layer.type in _PASSING:
                counts[node.bottoms[0].name] = counts[top.name]
    return counts


def draw_zeros(net: Net, seed: int = 0) -> Net:
    """Return a net whose weights that are all 0 are drawn; the same net if none are.

    A layer whose weights are all 0 answers alike to every input, and so proves nothing. One that
    normalizes by averages which are all 0 multiplies by 1 / sqrt(eps), and a deep net overflows.

    Args:
        net: the net.
        seed: of numpy's generator: weights of N(0, 2 / fan_in), means of N(0, 0.01), variances of
            0.5 to 1.5. Then averages become those of random input, and the weights of a layer that
            has one such blob are scaled to an answer of standard deviation 1: in a deep net it
            would else grow or shrink to where float32 ends.
    """
    rng = np.random.default_rng(seed)
    drawn = _draw_averages(net, rng)
    owners = [node.owners for node in net.graph.nodes]
    for index, i in dict.fromkeys(chain(*owners)):
        array = net.arrays[index][i]
        if id(array) not in drawn and array.ndim > 1 and array.size and not array.any():
            std = np.sqrt(2 * len(array) / array.size)
            drawn[id(array)] = (rng.standard_normal(array.shape) * std).astype(np.float32)
    if not drawn:
        return net

    def value(array: Array, owner: Place) -> Array:
        source = net.arrays[owner[0]][owner[1]]
        return drawn[id(source)].reshape(array.shape) if id(source) in drawn else array

    arrays = tuple(tuple(map(value, *both)) for both in zip(net.arrays, owners, strict=True))
    filled = replace(net, arrays=arrays)
    _scale(filled, {id(array) for array in drawn.values()}, seed)
    return filled


def _scale(net: Net, drawn: Collection[int], seed: int) -> None:
    """Scale drawn weights in place, each to an answer of standard deviation 1; set averages.

    Args:
        net: the net with the drawn weights.
        drawn: the `id` of their memory.
        seed: of the input.
    """
    net = with_two_rows(net) or net
    own = [
        [array for array in arrays if array.ndim > 1 and id(_memory(array)) in drawn]
        for arrays in net.arrays
    ]
    last = max((i for i, arrays in enumerate(net.arrays) if _any(arrays, drawn)), default=-1)
    with suppress(CaffeCompatError), np.errstate(all="ignore"):  # what cannot run is told later
        values = net.fed(random_feeds(net, seed))
        for index, node in enumerate(net.graph.nodes[: last + 1]):
            if node.tops and len(node.layer.feeds()) == len(node.tops):
                continue
            x = [values[value.name] for value in node.bottoms]
            _average(net.blobs_of(index), node.layer.statistics, x, drawn)
            tops = node.layer.forward(*x, **net.blobs_of(index))
            tops = tops if isinstance(tops, tuple) else (tops,)
            spread = float(tops[0].std()) if len(own[index]) == 1 and len(tops) == 1 else 0.0
            if 0 < spread < np.inf:
                own[index][0] /= np.float32(spread)
                tops = (tops[0] / np.float32(spread),)
            values |= zip((top.name for top in node.tops), tops, strict=True)


def _average(
    blobs: Mapping[str, Array], names: Collection[str], x: Sequence[Array], drawn: Collection[int]
) -> None:
    """Set drawn averages to those of a layer's bottom, where no variance of it is 0.

    The means keep off its own by what was drawn, so that a pool over all behind it cancels less.
    """
    own = {name: blobs[name] for name in names if name in blobs and _any([blobs[name]], drawn)}
    if {"mean", "variance"} <= own.keys():
        axes = (0, *range(2, x[0].ndim))
        variance = x[0].var(axis=axes)
        if variance.size == own["variance"].size and np.isfinite(variance).all() and variance.all():
            own["mean"] *= np.sqrt(variance).reshape(own["mean"].shape)
            own["mean"] += x[0].mean(axis=axes).reshape(own["mean"].shape)
            own["variance"][...] = variance.reshape(own["variance"].shape)


def _any(arrays: Iterable[Array], drawn: Collection[int]) -> bool:
    return any(id(_memory(array)) in drawn for array in arrays)


def _memory(array: Array) -> Array:
    """Return the array that a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _draw_averages(net: Net, rng: np.random.Generator) -> dict[int, Array]:
    """Return averages for the layers whose own are all 0, by the `id` of the arrays."""
    drawn: dict[int, Array] = {}
    for index, node in enumerate(net.graph.nodes):
        blobs = net.blobs_of(index)
        own = {name: blobs[name] for name in node.layer.statistics if name in blobs}
        if {"mean", "variance"} <= own.keys() and not any(each.any() for each in own.values()):
            means = rng.normal(0, 0.1, own["mean"].shape)
            drawn[id(own["mean"])] = means.astype(np.float32)
            variances = rng.uniform(0.5, 1.5, own["variance"].shape)
            drawn[id(own["variance"])] = variances.astype(np.float32)
            if "factor" in own:
                drawn[id(own["factor"])] = np.ones_like(own["factor"])
    return drawn
