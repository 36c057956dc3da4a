"""Runs the numpy reference beside onnxruntime and says where the two first part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..net.net import Net
from ..onnx.lowering import OPSET, lower
from ..onnx.passes import simplify
from ..types import Array
from .session import Session

TOLERANCE = 1e-4
_HAND_ON = ("Split", "Reshape", "Flatten")  # the layers that leave class indices what they are


@dataclass(frozen=True)
class Difference:
    """How far a value of onnxruntime's is from numpy's.

    Attributes:
        layer: the layer that makes it, and its type.
        blob: its Caffe name.
        largest: the largest difference, as a share of numpy's largest value, over what is finite.
        finite: whether all of numpy's values are.
    """

    layer: str
    blob: str
    largest: float
    finite: bool


@dataclass(frozen=True)
class Verification:
    """Every value that the two computed, in the order of the layers."""

    differences: tuple[Difference, ...]
    tolerance: float

    @property
    def parts(self) -> Difference | None:
        """The first value on which the two part."""
        return next((d for d in self.differences if not d.largest <= self.tolerance), None)

    @property
    def worst(self) -> Difference | None:
        """The value on which they differ most."""
        return max(self.differences, key=lambda d: d.largest, default=None)

    def __str__(self) -> str:
        """One line: agreed, or where they part."""
        if self.worst is None:
            return "verified: the net computes nothing"
        worst = f"{self.worst.largest:.1e} of the largest value, at '{self.worst.blob}'"
        endless = next((d for d in self.differences if not d.finite), None)
        if endless is not None:
            worst += f"; from layer {endless.layer} on, not all values are finite"
        if self.parts is None:
            return (
                f"verified: numpy and onnxruntime agree on {len(self.differences)} blobs; "
                f"largest difference {worst}"
            )
        first = self.parts
        return (
            f"NOT verified: numpy and onnxruntime part at layer {first.layer}, blob "
            f"'{first.blob}' ({first.largest:.1e}); largest difference {worst}"
        )


def verify(
    net: Net, *, opset: int = OPSET, seed: int = 0, tolerance: float = TOLERANCE
) -> Verification:
    """Compare the two on random input, every blob of every layer.

    Inputs are N(0, 1); those that hold class indices are drawn from the classes.

    Args:
        net: the net with its weights.
        opset: of the ONNX model.
        seed: of the random input.
        tolerance: the difference, as a share of the largest value, that counts as parting;
            float32 sums of another order differ by less.
    """
    feeds = random_feeds(net, seed)
    with np.errstate(all="ignore"):  # an untrained net may well overflow
        values = net.run(feeds)
    made = [(node, top) for node in net.graph.nodes for top in node.tops if top.name in values]
    session = Session(simplify(lower(net, opset, extra=[top for _, top in made])), "cpu")
    outputs = session.run({name: feeds[name] for name in session.inputs})
    return Verification(
        tuple(
            Difference(
                f"'{node.layer.name}' ({node.layer.proto.type})",
                top.blob,
                _largest(outputs[top.name], values[top.name]),
                bool(np.isfinite(values[top.name]).all()),
            )
            for node, top in made
            if top.name in outputs
        ),
        tolerance,
    )


def random_feeds(net: Net, seed: int = 0) -> dict[str, Array]:
    """N(0, 1) for every input, and class indices where a layer looks them up."""
    rng = np.random.default_rng(seed)
    classes = _classes(net)
    return {
        value.blob: rng.integers(0, classes[value.name], value.shape).astype(np.float32)
        if value.name in classes
        else rng.standard_normal(value.shape, np.float32)
        for value in net.graph.inputs
    }


def _classes(net: Net) -> dict[str, int]:
    """How many classes there are behind each value that holds class indices, by `Value.name`."""
    found: dict[str, int] = {}
    for node in reversed(net.graph.nodes):
        shapes = [value.shape for value in node.bottoms]
        for bottom, classes in node.layer.classes(*shapes).items():
            name = node.bottoms[bottom].name
            found[name] = min(classes, found.get(name, classes))
        for top in node.tops:
            if top.name in found and node.layer.type in _HAND_ON:
                found[node.bottoms[0].name] = found[top.name]
    return found


def _largest(got: Array, want: Array) -> float:
    if got.shape != want.shape:
        return float("inf")
    if not want.size:
        return 0.0
    finite = np.isfinite(want)
    difference = np.abs(got[finite].astype(np.float64) - want[finite]).max(initial=0)
    scale = np.abs(want[finite]).max(initial=0)
    return float(difference / max(scale, np.finfo(np.float32).tiny))
