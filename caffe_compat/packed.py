"""The straight line in three parts, whose options are packed: `pipeline` for callers above it."""

from __future__ import annotations

from . import steps
from .errors import CaffeCompatError, in_file
from .mending import Mending
from .net.creation import Creator
from .net.graph import Graph
from .net.net import Net
from .net.params import match_weights
from .onnx.lowering import Lowered
from .options import Copying, Filling, Onnx, Prototxt, Reading
from .weights.trained import Weights


def read_graph(prototxt: Prototxt, stored: Weights | None, reading: Reading) -> Graph:
    """Walk the line's first part: read, upgrade, select, build.

    A refusal tells all that stands in the way, and the arguments with which the net is built. Where
    only the channels of pictures are not stated, they are the weights' or 3, and a note says so.
    """
    message, unknown = steps.read(prototxt, reading)
    with in_file(prototxt):
        current = steps.upgrade(message, unknown)

    def walk(reading: Reading) -> tuple[Graph, steps.Left]:
        selected = steps.select(current, reading, stored)
        graph = steps.build(selected, unknown, reading, stored)
        return graph, steps.left_out(current, selected, reading)

    def walk_fitting(reading: Reading) -> tuple[Graph, steps.Left]:
        graph, left = walk(reading)
        if stored is not None:
            match_weights(graph, stored)
        return graph, left

    try:
        graph, left = walk(reading)
    except CaffeCompatError as error:
        creator = Creator(reading.fork, stored.shapes if stored else None, current)
        with in_file(prototxt):
            graph, left = Mending(current, walk_fitting, creator).assume(error, reading)
    steps.report(graph, left, unknown)
    return graph


def load_net(
    prototxt: Prototxt,
    stored: Weights | None,
    reading: Reading,
    drawing: Filling,
    copying: Copying | None = None,
) -> Net:
    """Walk the line up to a net with weights."""
    return steps.fill(read_graph(prototxt, stored, reading), stored, drawing, copying)


def lower_net(net: Net, onnx: Onnx) -> Lowered:
    """Walk the line from a net to its ONNX model in memory: fold, lower, passes."""
    folded = steps.fold(net, onnx)
    return steps.rewrite(steps.lower(folded, onnx), folded, onnx)
