"""The evidence for a class: Grad-CAM (Selvaraju et al. 2017) as a heat map on the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..net.graph import Node, Value
from ..net.net import Net
from ..net.preprocess import Preprocess, resize
from ..types import Array, Picture

_SHARE = 0.5  # of the heat in a mixed pixel, where the heat is largest


@dataclass(frozen=True)
class Explanation:
    """The evidence for a class.

    Attributes:
        heat: (height, width) of the net's input, 0 to 1.
        blob: the blob whose maps were weighed.
        scores: the blob of the class scores.
        score: the score of the class.
        window: (top, left, height, width) of the net's input as shares of the image.
    """

    heat: Array
    blob: str
    scores: str
    score: float
    window: tuple[float, float, float, float]


def explain(
    net: Net, image: Picture, target: int, preprocess: Preprocess | None = None
) -> Explanation:
    """Compute which parts of an image raise the score of a class.

    The maps of the last blob with a height and a width are weighed by the mean gradient of the
    score, before any Softmax; what lowers the score is cut off.

    Args:
        net: a classification net with its weights, built for a batch of 1.
        image: RGB, (height, width, 3).
        target: the index of the class.
        preprocess: from the image to the net's input.

    Raises:
        ShapeError: the net takes no single image, is no classification, or has no such class.
    """
    source = _image_input(net)
    prepare = preprocess or Preprocess()
    data = prepare(image, source.dims)[np.newaxis]
    values = net.run({source.blob: np.asarray(data, np.float32)})
    scores = _scores(net)
    count = int(np.prod(scores.shape))
    if not 0 <= target < count:
        raise ShapeError(f"class {target} is not among the {count} of '{scores.blob}'")
    seed = np.zeros(scores.shape, np.float32)
    seed.reshape(-1)[target] = 1
    maps = _maps(net, scores)
    grads, _ = net.backward(values, {scores.blob: seed})
    weights = grads[maps.name].mean(axis=(0, 2, 3))
    raw = np.maximum(np.tensordot(weights, values[maps.name][0], 1), 0)
    peak = float(raw.max())
    heat = resize((raw / peak if peak else raw)[..., np.newaxis], (data.shape[2], data.shape[3]))
    if prepare.transposed:
        heat = heat.swapaxes(0, 1)
    before, after = prepare.sizes(image.shape[:2], prepare.fits(source.dims)[1])
    return Explanation(
        np.clip(heat[..., 0], 0, 1),
        maps.blob,
        scores.blob,
        float(values[scores.name].reshape(-1)[target]),
        prepare.window(before, after),
    )


def draw_heat(image: Picture, explanation: Explanation) -> Picture:
    """Return a copy of the image with the heat mixed in, blue for little and red for much."""
    top, left, tall, wide = explanation.window
    height, width = image.shape[:2]
    first, start = round(top * height), round(left * width)
    size = (max(1, round(tall * height)), max(1, round(wide * width)))
    heat = np.zeros((height, width), np.float32)
    part = resize(explanation.heat[..., np.newaxis], size)[..., 0]
    heat[first : first + size[0], start : start + size[1]] = part[: height - first, : width - start]
    share = (_SHARE * np.clip(heat, 0, 1))[..., np.newaxis]
    mixed = image * (1 - share) + 255 * _colors(heat) * share
    return np.asarray(mixed + 0.5, np.uint8)


def _colors(heat: Array) -> NDArray[Any]:
    """Return blue, green, yellow and red for 0 to 1, as (..., 3) from 0 to 1."""
    shifts = np.array([0.75, 0.5, 0.25], np.float32)
    return np.asarray(np.clip(1.5 - np.abs(4 * (heat[..., np.newaxis] - shifts)), 0, 1))


def _image_input(net: Net) -> Value:
    inputs = net.graph.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1:
        have = ", ".join(f"{v.blob} {v.shape}" for v in inputs)
        raise ShapeError(f"needs one input of one image; has {have}; give batch=1")
    return inputs[0]


def _scores(net: Net) -> Value:
    """Return the class scores, in front of a Softmax where there is one."""
    for value in net.graph.outputs:
        count = int(np.prod(value.shape))
        if count > 1 and count == int(np.prod(value.shape[1:2])):
            maker = next(node for node in net.graph.nodes if value in node.tops)
            return maker.bottoms[0] if maker.layer.type == "Softmax" else value
    shapes = ", ".join(f"{v.blob} {v.shape}" for v in net.graph.outputs)
    raise ShapeError(f"no output is a classification; the outputs: {shapes}")


def _maps(net: Net, scores: Value) -> Value:
    """Return the last value with a height and a width that the scores are computed from."""
    needed = {scores.name}
    for node in reversed(net.graph.nodes):
        if not needed.isdisjoint(top.name for top in node.tops):
            if _is_map(node, scores):
                return node.tops[0]
            needed.update(value.name for value in node.bottoms)
    raise ShapeError("the net has no blob with a height and a width before its scores")


def _is_map(node: Node, scores: Value) -> bool:
    top = node.tops[0]
    return len(top.shape) == 4 and top.shape[2] * top.shape[3] > 1 and top.name != scores.name
