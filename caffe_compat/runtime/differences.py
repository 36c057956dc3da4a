"""The distances between the reference's and an engine's values, and the limits that they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..net.graph import Node, Value
from ..types import AnyArray, Array


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that still agree, relative to the largest value of a blob.

    Attributes:
        layer: of a layer computed from the reference's own bottoms.
        net: of an output, from end to end.
    """

    layer: float
    net: float


_ROUNDED = 4.0  # a difference that is this many times float32's own error is no rounding

TOLERANCES = {
    "float32": Tolerance(1e-4, 1e-4),  # sums in another order differ by less
    "float16": Tolerance(1e-2, 5e-2),  # 11 bits: 0.0005 for each rounding
    "int8": Tolerance(0.1, 0.25),  # 7 bits of weights, 8 of activations
}
"""The tolerances by the numbers that a model computes in."""


@dataclass(frozen=True)
class Difference:
    """The distance between numpy's and the model's value of a blob.

    Attributes:
        layer: the layer that computes it, and its type.
        blob: its Caffe name.
        largest: the largest difference of finite elements, relative to numpy's largest.
        finite: whether all of numpy's elements are finite.
        rounding: how far numpy's value is from that in float64, likewise; measured where the
            difference exceeds the tolerance.
    """

    layer: str
    blob: str
    largest: float
    finite: bool
    rounding: float = 0.0


@dataclass(frozen=True)
class Verification:
    """The differences between the numpy reference and a model.

    Attributes:
        differences: those of the blobs, each computed from the reference's own bottoms, in the
            order of the layers.
        tolerance: the tolerance of the numbers that the model computes in.
        outputs: those of the outputs from end to end.
        numbers: `float32`, `float16` or `int8`.
        choice: the layer, before an output that differs, in which nearly equal values choose; ''
            if there is none, and then such an output is an error.
        drawn: whether weights that are all 0 were drawn for the check.
        engine: the name of what computed the model.
        random: the first layer that draws at random in every run, behind which outputs are not
            compared from end to end; '' if there is none.
    """

    differences: tuple[Difference, ...]
    tolerance: Tolerance
    outputs: tuple[Difference, ...] = ()
    numbers: str = "float32"
    choice: str = ""
    drawn: bool = False
    engine: str = "onnxruntime"
    random: str = ""

    @property
    def first(self) -> Difference | None:
        """The first difference of a layer above the tolerance."""
        return _first(self.differences, self.tolerance.layer)

    @property
    def worst(self) -> Difference | None:
        """The largest difference of a layer."""
        return max(self.differences, key=lambda d: d.largest, default=None)

    @property
    def agrees(self) -> bool:
        """Whether the model computes what the reference does."""
        ends = _first(self.outputs, self.tolerance.net) is None or self.choice
        return self.first is None and bool(ends)

    def __str__(self) -> str:
        """Return one line: they agree, or where they differ."""
        drawn = "with drawn weights, since weights are all 0: " if self.drawn else ""
        if self.worst is None:
            return f"verified: {drawn}the net computes nothing"
        limits = f"tolerance for {self.numbers}: {self.tolerance.layer:.0e}"
        worst = f"{self.worst.largest:.1e} of the largest value, at '{self.worst.blob}' ({limits})"
        overflow = next((d for d in self.differences if not d.finite), None)
        if overflow is not None:
            worst += f"; from layer {overflow.layer} on, not all values are finite"
        first = self.first
        if first is not None:
            return (
                f"NOT verified: {drawn}numpy and {self.engine} differ in layer {first.layer}, blob "
                f"'{first.blob}' ({first.largest:.1e}); largest difference {worst}"
            )
        return f"{self._end_to_end(drawn)}; largest difference {worst}"

    def _end_to_end(self, drawn: str) -> str:
        agree = f"numpy and {self.engine} agree on {len(self.differences)} blobs"
        rounded = max((*self.differences, *self.outputs), key=lambda d: d.rounding)
        if rounded.rounding:
            error = f"'{rounded.blob}' is {rounded.rounding:.1e} from float64"
            agree += f", as far as float32 goes ({error})"
        if self.random:
            agree += (
                f"; outputs behind {self.random}, which draws at random in every run, are not "
                "compared from end to end"
            )
        end = _first(self.outputs, self.tolerance.net)
        if end is None:
            return f"verified: {drawn}{agree}"
        differ = f"output '{end.blob}' differs by {end.largest:.1e} from end to end"
        if self.choice:
            return f"verified: {drawn}{agree}; {differ}, behind {self.choice}, where a tie decides"
        return f"NOT verified: {drawn}{agree} layer by layer, but {differ}"


def measure(node: Node, top: Value, got: AnyArray, want: Array) -> Difference:
    """Return the difference at a value that a node computes."""
    layer = f"'{node.layer.name}' ({node.layer.proto.type})"
    return Difference(layer, top.blob, distance(got, want), bool(np.isfinite(want).all()))


def _first(differences: Sequence[Difference], limit: float) -> Difference | None:
    return next(
        (d for d in differences if not d.largest <= max(limit, _ROUNDED * d.rounding)), None
    )


def distance(got: AnyArray, want: AnyArray) -> float:
    """Return the largest difference of finite elements, relative to the largest wanted one."""
    if got.shape != want.shape:
        return float("inf")
    if not want.size:
        return 0.0
    finite = np.isfinite(want)
    difference = np.abs(got[finite].astype(np.float64) - want[finite]).max(initial=0)
    scale = np.abs(want[finite]).max(initial=0)
    return float(difference / max(scale, np.finfo(np.float32).tiny))
