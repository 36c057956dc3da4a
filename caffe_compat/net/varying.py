"""Which dimensions of a net vary from run to run: with open input axes, or with the data.

They are found by walking the net again at other sizes: a dimension that never changes is fixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from ..errors import ShapeError
from ..types import Dims

Shapes: TypeAlias = Sequence[tuple[int, ...]]
Walk: TypeAlias = Callable[[Mapping[str, Dims], int], Shapes]


def find_varying(
    walk: Walk, base: Shapes, inputs: Mapping[str, Dims], sizes: Mapping[str, tuple[int, ...]]
) -> list[set[int]]:
    """The varying axes of every value.

    Args:
        walk: the values' shapes at other input sizes, and with those sizes that only the data
            decide taken so many times.
        base: the values' shapes as built.
        inputs: the inputs' dims, None on an open axis. Open axes of the same place and size vary
            together, as the batch of several inputs does.
        sizes: the inputs' shapes as built.

    Raises:
        ShapeError: the net does not allow an open axis to vary.
    """
    varying: dict[int, set[int]] = defaultdict(set)
    for shapes in (*_probes(walk, inputs, sizes), *_with_data(walk, inputs)):
        for i, (here, there) in enumerate(zip(base, shapes, strict=True)):
            varying[i].update(axis for axis, n in enumerate(there) if n != here[axis])
    return [varying[i] for i in range(len(base))]


def _probes(
    walk: Walk, inputs: Mapping[str, Dims], sizes: Mapping[str, tuple[int, ...]]
) -> Iterator[Shapes]:
    groups = {
        (axis, sizes[blob][axis])
        for blob, dims in inputs.items()
        for axis, size in enumerate(dims)
        if size is None
    }
    for axis, size in sorted(groups):
        # A net may take only multiples of its stride; others show what rounding hides.
        for probe, must in ((2 * size, True), (3 * size, True), (size + 1, False)):
            changed = {
                blob: tuple(
                    probe if (i, n) == (axis, size) and dims[i] is None else n
                    for i, n in enumerate(sizes[blob])
                )
                for blob, dims in inputs.items()
            }
            try:
                yield walk(changed, 1)
            except ShapeError as error:
                if must:
                    raise ShapeError(f"axis {axis} of the input cannot vary: {error}") from error


def _with_data(walk: Walk, inputs: Mapping[str, Dims]) -> Iterator[Shapes]:
    """The shapes where a layer finds more in the data than it states (Filter's rows)."""
    for times in (2, 3):
        # A net may fit only if all rows are chosen; Caffe too finds that out when it runs.
        with suppress(ShapeError):
            yield walk(inputs, times)
