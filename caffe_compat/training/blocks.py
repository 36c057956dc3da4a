"""A net's parameters in blocks, over which an update rule runs fastest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_SIZE = 1 << 16  # of a block in memory, so that what a rule computes on the way stays in the cache


@dataclass(frozen=True)
class Learnable:
    """A parameter blob that a solver updates.

    Attributes:
        layer: its owner.
        blob: its name in that layer.
        lr_mult: multiplies the learning rate.
        decay_mult: multiplies the weight decay.
    """

    layer: str
    blob: str
    lr_mult: float
    decay_mult: float


@dataclass(frozen=True)
class Block:
    """Some parameters of equal multipliers, with what belongs to them.

    Attributes:
        lr_mult: multiplies the learning rate.
        decay_mult: multiplies the weight decay.
        params: the parameters.
        grads: their gradients, alike.
        history: the rule's arrays, one for each of its slots, alike.
    """

    lr_mult: float
    decay_mult: float
    params: Any
    grads: Any
    history: Sequence[Any]


def cut(
    learnables: Sequence[Learnable],
    params: Sequence[Any],
    grads: Sequence[Any],
    history: Sequence[Any],
    skip: Collection[int] = (),
) -> Iterator[Block]:
    """Yield the parameters in blocks of the CPU's cache, views of numpy's arrays or torch's.

    Args:
        learnables: the parameter blobs.
        params: their data.
        grads: their gradients.
        history: for each slot of the rule one array for each blob.
        skip: the indices of blobs to leave out.
    """
    count = len(params)
    for i, (each, w) in enumerate(zip(learnables, params, strict=True)):
        if i in skip:
            continue
        arrays = [w, grads[i], *history[i::count]]
        rows = [array.reshape(-1) for array in arrays]
        for start in range(0, rows[0].shape[0], _SIZE):
            w, g, *h = (row[start : start + _SIZE] for row in rows)
            yield Block(each.lr_mult, each.decay_mult, w, g, h)
