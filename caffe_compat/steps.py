"""The steps of the line, each from a value and its options to the next value."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from . import weights
from .caffe_pb2 import LayerParameter, NetParameter
from .errors import CaffeCompatError, WeightsError
from .fillers.rng import make_rng
from .layers.registry import registry
from .net import doubts, params, slopes
from .net.build import connect, create
from .net.creation import Creator
from .net.deploy import deploy, fallen
from .net.feeding import feed
from .net.fold import fold_batchnorm
from .net.graph import Graph
from .net.net import Net
from .net.roles import is_score
from .net.showing import show
from .onnx import lowering, passes
from .onnx.lowering import Lowered
from .onnx.opsets import LOWERED
from .onnx.passes import targets
from .onnx.passes.older import write_older
from .options import Copying, Filling, Onnx, PathLike, Prototxt, Reading
from .prototxt import cut, phase, reader
from .prototxt.skipped import Unknown
from .prototxt.splits import insert_splits
from .prototxt.upgrade import upgrade as upgrade_net
from .text import list_names
from .weights.trained import Weights

log = logging.getLogger("caffe_compat")


def open_weights(source: PathLike | Weights | None) -> Weights | None:
    """Open a weights file, unless the caller already has; None stays None."""
    return source if source is None or isinstance(source, Weights) else weights.read(source)


def read(prototxt: Prototxt, reading: Reading) -> tuple[NetParameter, Unknown]:
    """Read a net as it is written, and the fields that the schema does not know.

    A message is a net that is read already.

    Raises:
        ParseError: the file is no prototxt.
    """
    if isinstance(prototxt, NetParameter):
        return prototxt, Unknown()
    net, skipped = reader.read_net(prototxt, reading.number)
    counted = phase.select_skipped(skipped, net, reading.number, reading.level, reading.stages)
    params = {kind: [cls.param or "" for cls in known] for kind, known in registry().items()}
    return net, Unknown(skipped, counted).configure(net, params)


def upgrade(net: NetParameter, unknown: Unknown) -> NetParameter:
    """Upgrade a net to the current form, with the names of the types that V1's enum lacks."""
    return unknown.name_types(upgrade_net(net))


def select(net: NetParameter, reading: Reading, stored: Weights | None = None) -> NetParameter:
    """Keep the layers of the phase that are asked for, with inputs where the caller gives them.

    Raises:
        ShapeError: `until` or `leave_out` names what the net does not have.
    """
    selected = phase.select(net, reading.number, reading.level, reading.stages)
    creator = Creator(reading.fork, stored.shapes if stored else None, selected)
    if reading.leave_out:
        selected = cut.leave_out(selected, tuple(reading.leave_out))
    if reading.until:
        selected = cut.cut_until(selected, tuple(reading.until))
    if reading.deploy:
        selected = deploy(selected, net, creator)
    selected = feed(selected, reading.inputs, creator)
    return insert_splits(selected) if reading.splits else selected


class Left(NamedTuple):
    """The layers of the phase that were left out, and how many it has."""

    layers: Sequence[LayerParameter]
    total: int

    @property
    def kept(self) -> float:
        """The share of the layers that were kept; losses and accuracies that went do not count."""
        scores = sum(map(is_score, self.layers))
        return 1 - (len(self.layers) - scores) / max(1, self.total - scores)


def left_out(net: NetParameter, selected: NetParameter, reading: Reading) -> Left:
    """Return the layers of the phase that were left out."""
    before = phase.select(net, reading.number, reading.level, reading.stages)
    return Left(fallen(before, selected), len(before.layer))


def report(graph: Graph, left: Left, unknown: Unknown) -> None:
    """Log what a net was read without, fields and layers, and what it can hardly mean."""
    unknown.report(graph.net)
    for line in doubts.evident_forks(graph):
        log.info("%s", line)
    for node in doubts.folded_batches(graph):
        log.warning(
            "layer '%s' (Reshape): 'dim: 1' folds the batch into another axis; 'dim: 0' keeps it",
            node.layer.name,
        )
    for line in doubts.samplers(graph):
        log.info("%s", line)
    if left.layers:
        lost = cut.list_layers(left.layers)
        log.info("left out %d of %d layers: %s", len(left.layers), left.total, lost)


def build(net: NetParameter, unknown: Unknown, reading: Reading, stored: Weights | None) -> Graph:
    """Build the graph; where forks differ, the stored blobs' shapes tell whose layer it is.

    In the deploy form the batch is open where nothing else is asked for and every layer allows it.

    Raises:
        UnsupportedError: the unsupported layer types, all at once, before unknown fields.
        ParseError: fields are unknown.
        ShapeError: what Caffe's CHECKs refuse.
    """
    shapes = stored.shapes if stored else None
    layers = create(net, reading.fork, shapes, reading.find)
    ignored = unknown.accept(reading.ignore_unknown, net, shapes or ())
    graph = replace(connect(net, layers, reading.inputs, reading.batch), ignored=ignored)
    fork = reading.fork
    if doubts.has_ambiguous_crops(graph):
        try:
            aligned = create(net, _with_fork(fork, "Crop=fcn"), shapes, reading.find)
            connect(net, aligned, reading.inputs, reading.batch)
        except CaffeCompatError as error:
            fork = _with_fork(fork, "Crop=bvlc")
            log.info("layers of type Crop are taken as BVLC's, since FCN's would not do: %s", error)
            layers = create(net, fork, shapes, reading.find)
            graph = replace(connect(net, layers, reading.inputs, reading.batch), ignored=ignored)
    if reading.deploy and reading.batch is None and not reading.inputs:
        try:
            layers = create(net, fork, shapes, reading.find)
            return replace(connect(net, layers, batch="dynamic"), ignored=ignored)
        except CaffeCompatError as error:
            log.info("the batch is fixed: %s", error)
    return graph


def _with_fork(fork: str | None, own: str) -> str:
    return f"{fork},{own}" if fork else own


def fill(
    graph: Graph, stored: Weights | None, drawing: Filling, copying: Copying | None = None
) -> Net:
    """Give a graph the weights of the file, and the fillers' for layers that are not in it.

    Raises:
        WeightsError: the file does not fit the net, or has none of its layers.
        CaffeCompatError: a filler is refused.
    """
    copying = copying or Copying()
    if drawing.slopes:
        resolved = slopes.resolve(graph, stored)
        if not any(each.filler.type == "msra" for each in resolved):
            log.warning("no layer's weights have an msra filler, so slopes change nothing")
        graph = slopes.apply(graph, resolved)
    rng = make_rng(drawing.rng, drawing.seed)
    if stored is None:
        net = params.fill(graph, rng)
        drawn = [node.layer.name for node in graph.nodes]
    else:
        net, report = params.load(graph, stored, rng, reshape=copying.allow_reshape)
        drawn = list(report.left)
        if drawn and not report.copied and not copying.allow_missing:
            raise _all_missing(stored, drawn)
        if drawn:
            _warn(f"drawn from their fillers, since they are not in {stored.path}", drawn)
        if report.unused:
            log.info("in %s and not in the net: %s", stored.path, list_names(report.unused))
    if zeros := params.without_filler(graph, drawn):
        _warn("weights are all 0, since there is no weight_filler", zeros)
    if uncounted := params.without_count(net):
        log.warning(
            "mean and variance are not used, since the third blob, by which Caffe divides them, is "
            "0 (the output is x / sqrt(eps)): %s",
            ", ".join(uncounted),
        )
    return net


def _warn(fact: str, layers: Sequence[str]) -> None:
    """Log what makes a net's answers worthless, for the last line that a command prints."""
    log.warning("%s: %s", fact, list_names(layers), extra={"last": True})


def _all_missing(stored: Weights, drawn: Sequence[str]) -> WeightsError:
    have = list_names([layer.name for layer in stored.layers if layer.blobs]) or "none"
    return WeightsError(
        f"{stored.path}: has none of the net's layers: the net's are {list_names(drawn)}, the "
        f"file's {have}; allow_missing=True draws them all from their fillers",
        remedies=("allow_missing",),
    )


def fold(net: Net, onnx: Onnx) -> Net:
    """Fold BatchNorm and Scale into the layers before them, if that is asked for."""
    if not onnx.fold_batchnorm:
        return net
    folded, report = fold_batchnorm(net, onnx.blobs)
    for line in report.lines():
        log.info("%s", line)
    return folded


def lower(net: Net, onnx: Onnx) -> Lowered:
    """Lower a net to ONNX's operators.

    Raises:
        UnsupportedError: the layers that have no exact ONNX form, all at once.
    """
    net, extra = show(net, onnx.blobs)
    return lowering.lower(net, max(onnx.opset, LOWERED[0]), extra)


def rewrite(lowered: Lowered, net: Net, onnx: Onnx) -> Lowered:
    """Apply the passes of every conversion, the target's, the caller's, then that to older opsets.

    Raises:
        UnsupportedError: the layers that the target or the opset lacks, all at once.
    """
    lowered = targets.fit(passes.simplify(lowered), net, onnx.target)
    for each in onnx.passes:
        lowered = each(lowered)
    if onnx.opset not in LOWERED:
        return write_older(lowered, onnx.opset)
    return targets.finish(lowered, onnx.target)
