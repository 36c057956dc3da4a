"""Compares the numpy reference with onnxruntime, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..net.graph import Value
from ..net.net import Net
from ..onnx.opsets import OPSET
from ..types import Array
from .models import lower_values
from .session import Session

TOLERANCE = 1e-4
_PASSING = ("Split", "Reshape", "Flatten")  # the layers whose outputs are the same class indices


@dataclass(frozen=True)
class Difference:
    """The distance between numpy's and onnxruntime's value of a blob.

    Attributes:
        layer: the layer that computes it, and its type.
        blob: its Caffe name.
        largest: the largest difference of finite elements, relative to numpy's largest.
        finite: whether all of numpy's elements are finite.
    """

    layer: str
    blob: str
    largest: float
    finite: bool


@dataclass(frozen=True)
class Verification:
    """The differences of all blobs, in the order of the layers."""

    differences: tuple[Difference, ...]
    tolerance: float
    engine: str = "onnxruntime"

    @property
    def first(self) -> Difference | None:
        """The first difference above the tolerance."""
        return next((d for d in self.differences if not d.largest <= self.tolerance), None)

    @property
    def worst(self) -> Difference | None:
        """The largest difference."""
        return max(self.differences, key=lambda d: d.largest, default=None)

    def __str__(self) -> str:
        """Return one line: they agree, or differ from which layer on."""
        if self.worst is None:
            return "verified: the net computes nothing"
        worst = f"{self.worst.largest:.1e} of the largest value, at '{self.worst.blob}'"
        overflow = next((d for d in self.differences if not d.finite), None)
        if overflow is not None:
            worst += f"; from layer {overflow.layer} on, not all values are finite"
        first = self.first
        if first is None:
            return (
                f"verified: numpy and {self.engine} agree on {len(self.differences)} blobs; "
                f"largest difference {worst}"
            )
        return (
            f"NOT verified: numpy and {self.engine} differ from layer {first.layer} on, blob "
            f"'{first.blob}' ({first.largest:.1e}); largest difference {worst}"
        )


def verify(
    net: Net, *, opset: int = OPSET, seed: int = 0, tolerance: float = TOLERANCE
) -> Verification:
    """Compare numpy with onnxruntime on random input, every blob of every layer.

    Inputs are N(0, 1), or random class indices if a layer looks them up.

    Args:
        net: the net with its weights.
        opset: the ONNX model's version of the operators.
        seed: the seed of the random input.
        tolerance: the largest difference, relative to the largest value, that still agrees;
            float32 sums in another order differ by less.
    """

    def by_onnxruntime(values: Sequence[Value], feeds: Mapping[str, Array]) -> dict[str, Array]:
        session = Session(lower_values(net, values, opset), "cpu")
        return dict(session.run({name: feeds[name] for name in session.inputs}))

    return compare(net, by_onnxruntime, "onnxruntime", seed=seed, tolerance=tolerance)


def compare(
    net: Net,
    compute: Callable[[Sequence[Value], Mapping[str, Array]], Mapping[str, Array]],
    engine: str,
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Compare numpy with any engine on random input, as `verify` does with onnxruntime.

    Args:
        net: the net with its weights.
        compute: returns the engine's arrays, by `Value.name`, for values and the feeds by blob.
        engine: its name.
        seed: of the random input.
        tolerance: as for `verify`.
    """
    feeds = random_feeds(net, seed)
    with np.errstate(all="ignore"):  # an untrained net may well overflow
        values = net.run(feeds)
    tops = [(node, top) for node in net.graph.nodes for top in node.tops if top.name in values]
    outputs = compute([top for _, top in tops], feeds)
    return Verification(
        tuple(
            Difference(
                f"'{node.layer.name}' ({node.layer.proto.type})",
                top.blob,
                _distance(outputs[top.name], values[top.name]),
                bool(np.isfinite(values[top.name]).all()),
            )
            for node, top in tops
            if top.name in outputs
        ),
        tolerance,
        engine,
    )


def random_feeds(net: Net, seed: int = 0) -> dict[str, Array]:
    """Draw N(0, 1) for every input, or class indices if a layer looks them up.

    Args:
        net: the net; every input has a fixed shape.
        seed: the seed of numpy's generator.
    """
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


def _distance(got: Array, want: Array) -> float:
    if got.shape != want.shape:
        return float("inf")
    if not want.size:
        return 0.0
    finite = np.isfinite(want)
    difference = np.abs(got[finite].astype(np.float64) - want[finite]).max(initial=0)
    scale = np.abs(want[finite]).max(initial=0)
    return float(difference / max(scale, np.finfo(np.float32).tiny))
