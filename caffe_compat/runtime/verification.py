"""Compare the numpy reference with a model, layer by layer and from end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import CaffeCompatError
from ..memory import require
from ..net.aliasing import left_in_memory
from ..net.evaluations import without_evaluations
from ..net.graph import Graph, Node, Value
from ..net.net import Net
from ..onnx.lowering import Lowered
from ..onnx.opsets import OPSET
from ..types import AnyArray, Array
from .cutting import REFERENCE, ROUNDED, cut, cut_net, number_type
from .differences import TOLERANCES, Tolerance, Verification, measure
from .masks import adopt_masks, settled
from .models import lower_values, open_model
from .rounding import with_rounding
from .rows import ROWS, batch_of, cut_batch, with_two_rows
from .sampling import draw_zeros, random_feeds
from .session import Session

Compute: TypeAlias = Callable[[Net, Sequence[Value], Mapping[str, Array]], Mapping[str, Array]]
"""Return an engine's arrays, by `Value.name`, for values of a net and the feeds by blob."""

# Layers whose result jumps where two values are nearly equal: a difference of the last bit in the
# layers before them changes it completely.
_CHOOSING = (
    "Accuracy",
    "ArgMax",
    "DetectionCcpdOutput",
    "PSROIPooling",
    "ROIAlign",
    "ROIPooling",
    "ROIWarping",
    "Threshold",
)


def verify(
    net: Net,
    model: str | Path | None = None,
    *,
    opset: int = OPSET,
    seed: int = 0,
    feeds: Mapping[str, AnyArray] | None = None,
    tolerance: Tolerance | None = None,
) -> Verification:
    """Compare numpy with onnxruntime on the CPU: each layer by itself, and the whole net.

    A layer is computed from the bottoms of the reference, so that a near tie in a MAX pool's mask
    counts where it is and not in all the layers behind it. Of a batch two rows are computed, and
    all of them only where two do not agree or the model does not take them.

    Args:
        net: the net with its weights.
        model: the ONNX file that was written from it, of any form: float16, int8, with
            preprocessing; None: the net is lowered in memory, with every blob and with drawn
            weights in place of those that are all 0.
        opset: of that model in memory.
        seed: the seed of the random input.
        feeds: the input, by the model's names; None: N(0, 1), or random class indices if a layer
            looks them up. Of a model with preprocessing it is a random image.
        tolerance: in place of that in `TOLERANCES`.

    Raises:
        CaffeCompatError: the file cannot be opened, or its tensors are not the net's.
    """
    net, _ = without_evaluations(net)
    reference = net if model is not None else draw_zeros(net)
    lowered = open_model(model) if model is not None else _lower_all(reference, opset)
    written = None if model is None else str(model)
    small, size = with_two_rows(reference), batch_of(reference)
    if small is not None and size is not None:
        rows = feeds and {name: x[:ROWS] if len(x) == size else x for name, x in feeds.items()}
        with suppress(CaffeCompatError):  # a constant of the model has the size of the batch
            less = _Check(small, cut_batch(lowered, size), written, seed).run(rows, tolerance)
            if less.agrees:
                return replace(less, drawn=reference is not net)
    whole = _Check(reference, lowered, written, seed).run(feeds, tolerance)
    return replace(whole, drawn=reference is not net)


@dataclass(frozen=True)
class _Check:
    """A net beside a model of it.

    Attributes:
        net: the net with its weights.
        model: the model.
        path: its file; None if it was lowered in memory, with every blob among its outputs.
        seed: of the random input.
    """

    net: Net
    model: Lowered
    path: str | None
    seed: int

    def run(
        self, feeds: Mapping[str, AnyArray] | None, tolerance: Tolerance | None
    ) -> Verification:
        graph = self.net.graph
        require(graph.size, "the net's blobs")  # before the inputs are drawn
        inputs = dict(random_feeds(self.net, self.seed) if feeds is None else feeds)
        outputs = self._whole(inputs)
        if self.path is None:  # without the blobs in between
            outputs = {value.name: outputs[value.name] for value in graph.outputs}
        values = _run_reference(self.net, inputs)
        if self.path is not None:
            values |= _overwritten(graph, values, self.model)
        computed = _run_parts(graph, self.model, values)
        values = adopt_masks(graph, computed, values)
        same, random = settled(graph)
        numbers = number_type(self.model)
        exact = numbers == "float32"
        tops = [(node, top) for node in graph.nodes for top in node.tops]
        result = Verification(
            tuple(
                measure(node, top, computed[top.name], values[top.name])
                for node, top in tops
                if top.name in computed and (exact or not _chooses(node))
            ),
            tolerance or TOLERANCES[numbers],
            tuple(
                measure(node, top, outputs[top.name], values[top.name])
                for node, top in tops
                if top.name in outputs and top.name in values and top.name in same
            ),
            numbers,
            _choice(graph, outputs),
            random=random,
        )
        if result.agrees or not exact:
            return result
        return with_rounding(result, self.net, inputs, values)

    def _whole(self, feeds: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Run the model; for one with preprocessing, set `feeds` to what this returns."""
        session = Session(self.model, "cpu")
        known = {value.blob: value for value in self.net.graph.inputs}
        images = [name for name in session.inputs if name not in known]
        if not images:
            return session.run({name: feeds[name] for name in session.inputs})
        baked = [
            blob for blob, v in known.items() if blob not in session.inputs if len(v.shape) == 4
        ]
        is_image = session.dtypes[images[0]] == np.uint8
        if len(images) != 1 or len(baked) != 1 or not is_image:
            names = ", ".join(images)
            raise CaffeCompatError(f"{self.path}: is of another net; its inputs: {names}")
        (image,), (blob,) = images, baked
        if image in feeds:
            array = feeds.pop(image)
        else:
            sides = (known[blob].shape[0], *known[blob].shape[2:], 3)
            shape = [n or side for n, side in zip(session.inputs[image], sides, strict=True)]
            array = np.random.default_rng(self.seed).integers(0, 256, shape).astype(np.uint8)
        others = {name: feeds[name] for name in session.inputs if name != image}
        with Session(self.model, "cpu", blobs=[blob]) as wider:
            outputs = wider.run({image: array, **others})
        feeds[blob] = outputs.pop(blob)
        return outputs


def compare(
    net: Net, compute: Compute, engine: str, *, seed: int = 0, tolerance: Tolerance | None = None
) -> Verification:
    """Compare numpy with any engine that computes in float32, as `verify` does with onnxruntime.

    Args:
        net: the net with its weights.
        compute: runs the engine.
        engine: its name.
        seed: of the random input.
        tolerance: in place of float32's in `TOLERANCES`.
    """
    net, _ = without_evaluations(net)
    net = with_two_rows(net) or net
    feeds = random_feeds(net, seed)
    values = _run_reference(net, feeds)
    fed = {value.name for value in net.graph.inputs}
    tops = [(node, top) for node in net.graph.nodes for top in node.tops if top.name not in fed]
    parts = cut_net(net)
    references = {v.blob: values[v.name.removesuffix(REFERENCE)] for v in parts.graph.inputs}
    layers = compute(parts, [top for _, top in tops], references)
    values = adopt_masks(net.graph, layers, values)
    same, random = settled(net.graph)
    outputs = compute(net, [v for v in net.graph.outputs if v.name not in fed], feeds)
    result = Verification(
        tuple(
            measure(node, top, layers[top.name], values[top.name])
            for node, top in tops
            if top.name in layers
        ),
        tolerance or TOLERANCES["float32"],
        tuple(
            measure(node, top, outputs[top.name], values[top.name])
            for node, top in tops
            if top.name in outputs and top.name in same
        ),
        random=random,
        choice=_choice(net.graph, outputs),
        engine=engine,
    )
    return result if result.agrees else with_rounding(result, net, feeds, values)


def _lower_all(net: Net, opset: int) -> Lowered:
    fed = {value.name for value in net.graph.inputs}
    extra = [value for value in net.graph.values if value.name not in fed]
    return lower_values(net, extra, opset)


def _overwritten(graph: Graph, values: Mapping[str, Array], lowered: Lowered) -> dict[str, Array]:
    """Return what the model's outputs show of blobs whose memory is overwritten (`net.showing`)."""
    left, outputs = left_in_memory(graph), {output.name for output in lowered.model.graph.output}
    return {
        value.name: values[left[value.name]].reshape(value.shape)
        for value in graph.values
        if value.name in left and value.name in outputs and value.name == value.blob
    }


def _run_reference(net: Net, feeds: Mapping[str, AnyArray]) -> dict[str, Array]:
    with np.errstate(all="ignore"):  # an untrained net may well overflow
        return net.run(feeds)


def _run_parts(graph: Graph, lowered: Lowered, values: Mapping[str, Array]) -> dict[str, AnyArray]:
    """Run every layer of the model from the reference's values, and return its own."""
    shapes = {
        value.name: values[value.name].shape for value in graph.values if value.name in values
    }
    parts = Session(cut(lowered, shapes, [value.name for value in graph.inputs]), "cpu")
    with np.errstate(over="ignore"):  # what overflows float16 differs
        outputs = parts.run({name: values[name.removesuffix(REFERENCE)] for name in parts.inputs})
    return {name.removesuffix(ROUNDED): array for name, array in outputs.items()}


def _chooses(node: Node) -> bool:
    type_ = node.layer.proto.type
    varies = bool(node.layer.varies)
    return varies or type_ in _CHOOSING or (type_ == "Pooling" and len(node.tops) > 1)


def _choice(graph: Graph, names: Sequence[str] | Mapping[str, AnyArray]) -> str:
    """Return the last layer before these values, or of them, that chooses; '' if none does."""
    needed = set(names)
    for node in reversed(graph.nodes):
        if needed.isdisjoint(top.name for top in node.tops):
            continue
        if _chooses(node):
            return f"'{node.layer.name}' ({node.layer.proto.type})"
        needed.update(value.name for value in node.bottoms)
    return ""
