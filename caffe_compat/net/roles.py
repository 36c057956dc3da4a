"""The role of a layer in a training net, by the name of its type: a loss, an evaluation, a mask."""

from __future__ import annotations

import re

from ..caffe_pb2 import EltwiseParameter, LayerParameter
from .graph import Graph

# Type names, of forks too, and the class names of Python layers.
_LOSS = re.compile(r"loss", re.IGNORECASE)
_EVALUATION = re.compile(
    r"accuracy|evaluat|^eval|silence|annotator|anchortarget|^hdf5output$"
    r"|margininnerproduct|cosinl2normalize|^sampletriplet$"  # of labels, for a loss
    r"|^clustergroundtruth$|^scoredetections$|^map$",  # DetectNet's
    re.IGNORECASE,
)
# By the starts of the losses' types.
PREDICTIONS = {"softmax": "Softmax", "infogain": "Softmax", "sigmoidcrossentropy": "Sigmoid"}


def scores_only(graph: Graph) -> bool:
    """Return whether a net ends in losses and accuracies alone."""
    read = {value.name for node in graph.nodes for value in node.bottoms}
    ends = [
        node.layer.proto
        for node in graph.nodes
        if node.bottoms and read.isdisjoint(top.name for top in node.tops)
    ]
    return bool(ends) and all(map(is_score, ends))


def is_score(layer: LayerParameter) -> bool:
    """Return whether a layer is a loss, an accuracy or another evaluation, by its name."""
    return is_loss(layer) or is_evaluation(layer)


def is_loss(layer: LayerParameter) -> bool:
    """Return whether a layer is a loss, by its name."""
    return bool(_LOSS.search(_word(layer)))


def is_evaluation(layer: LayerParameter) -> bool:
    """Return whether a layer is an accuracy or another evaluation, by its name."""
    return bool(_EVALUATION.search(_word(layer)))


def is_mask(layer: LayerParameter) -> bool:
    """Return whether a layer multiplies its bottoms, as it masks predictions by labels."""
    product = layer.eltwise_param.operation == EltwiseParameter.PROD
    return layer.type == "Eltwise" and product


def samples_proposals(layer: LayerParameter) -> bool:
    """Return whether a layer samples proposals for training."""
    return "proposaltarget" in _word(layer).lower() and bool(layer.bottom and layer.top)


def prediction(layer: LayerParameter) -> str:
    """Return the type of the layer that predicts what a loss compares; empty for most losses."""
    word = layer.type.lower() if is_loss(layer) else ""
    return next((kind for start, kind in PREDICTIONS.items() if word.startswith(start)), "")


def _word(layer: LayerParameter) -> str:
    """Return the word that tells what a layer is: its type, or a Python layer's class."""
    return layer.python_param.layer if layer.type == "Python" else layer.type
