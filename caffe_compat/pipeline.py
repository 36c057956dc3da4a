"""The straight line: from a prototxt and its weights to a graph, a net, an ONNX file.

`convert` is the line. `read` and `load` are its first steps, `to_onnx` its last ones; `packed` has
twins of them for callers above, whose options are packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from . import steps
from .files import check_outputs
from .net import saving
from .net.graph import Graph
from .net.net import Net
from .net.sizes import Batch
from .onnx.lowering import Lowered
from .onnx.opsets import OPSET
from .onnx.passes import Pass
from .onnx.passes.targets import Target
from .onnx.writer import Saved, WeightsAs
from .onnx.writer import save as save_onnx
from .options import SEED, Copying, Filling, Inputs, Onnx, PathLike, Phase, Prototxt, Reading
from .packed import load_net, lower_net, read_graph
from .weights.trained import Weights


def convert(
    prototxt: PathLike,
    weights_file: PathLike | Weights | None,
    path: PathLike,
    *,
    phase: Phase = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Inputs | None = None,
    batch: Batch = None,
    ignore_unknown: Sequence[str] = (),
    fork: str | None = None,
    until: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    deploy: bool = False,
    seed: int = SEED,
    rng: str = "boost-1.64",
    slopes: Literal["auto"] | None = None,
    opset: int = OPSET,
    weights_as: WeightsAs | None = None,
    blobs: Sequence[str] = (),
    target: Target = "onnxruntime",
    fold_batchnorm: bool = False,
    passes: Sequence[Pass] = (),
    allow_missing: bool = False,
    allow_reshape: bool = False,
) -> Saved:
    """Convert a prototxt and its weights to an ONNX file: `load` and `to_onnx` in one.

    Args:
        prototxt: the net.
        weights_file: a caffemodel or Caffe's HDF5; None: the fillers draw all weights.
        path: the file to write; an old one stays if this fails.
        phase: as for `read`, like all up to `deploy`.
        level: NetState's level.
        stages: NetState's stages.
        inputs: shapes that override or supply the inputs'.
        batch: the size of every input's first axis.
        ignore_unknown: the unknown fields to do without, by name.
        fork: whose layers.
        until: the blobs to cut the net at.
        leave_out: layers to take out.
        deploy: turn a training net into its deploy form.
        seed: as for `load`, like `rng` and `slopes`.
        rng: whose random numbers.
        slopes: `auto`, or None.
        opset: as for `to_onnx`, like all that follow.
        weights_as: `inline`, `external` or `in-place`.
        blobs: blobs to add to the outputs.
        target: the reader of the file.
        fold_batchnorm: fold BatchNorm and Scale into the layers before them.
        passes: further rewrites of the lowered net.
        allow_missing: as for `load`, like `allow_reshape`.
        allow_reshape: take blobs of equal count.

    Raises:
        CaffeCompatError: as for `load` and `to_onnx`.
    """
    check_outputs([path], [prototxt])
    reading = Reading(
        phase, level, stages, inputs or {}, batch, ignore_unknown, fork, until, leave_out, deploy
    )
    drawing = Filling(seed, rng, slopes)
    onnx = Onnx(opset, weights_as, blobs, target, fold_batchnorm, tuple(passes))

    stored = steps.open_weights(weights_file)
    graph = read_graph(prototxt, stored, reading)
    net = steps.fill(graph, stored, drawing, Copying(allow_missing, allow_reshape))
    folded = steps.fold(net, onnx)
    lowered = steps.lower(folded, onnx)
    rewritten = steps.rewrite(lowered, folded, onnx)
    return save_onnx(rewritten, path, onnx.weights_as)


def read(
    prototxt: Prototxt,
    weights_file: PathLike | Weights | None = None,
    *,
    phase: Phase = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Inputs | None = None,
    batch: Batch = None,
    ignore_unknown: Sequence[str] = (),
    fork: str | None = None,
    splits: bool = False,
    until: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    deploy: bool = False,
) -> Graph:
    """Read a net's prototxt of any era: the layers of one phase, with their shapes.

    Args:
        prototxt: the file, or a `NetParameter`.
        weights_file: its weights, if there are any: the number and the shapes of a layer's blobs
            can tell whose layer it is.
        phase: TEST, TRAIN or MyCaffe's RUN; with `level` and `stages` it selects the layers, as
            Caffe does.
        level: NetState's level.
        stages: NetState's stages, beside those of the file.
        inputs: shapes by input that override or supply the prototxt's; None for an open axis.
        batch: the size of every input's first axis, `dynamic` for an open one.
        ignore_unknown: the unknown fields to do without, by name.
        fork: whose layers, for types that forks of Caffe define differently under one name.
        splits: insert the Split layers that Caffe inserts behind a blob with several readers, so
            that layers and blobs are Caffe's own, by its names.
        until: the blobs to cut the net at: what they do not depend on is left out.
        leave_out: layers to take out, by name or type, with whatever reads their tops.
        deploy: turn a training net into its deploy form: predictions for losses, no accuracies,
            no labels, an open batch.

    Raises:
        ParseError: the file is no prototxt, or a layer of the phase has an unknown field.
        UnsupportedError: the net's unsupported layer types, all at once.
        ShapeError: what Caffe's CHECKs refuse.
    """
    reading = Reading(
        phase, level, stages, inputs or {}, batch, ignore_unknown, fork, until, leave_out, deploy
    )
    return read_graph(prototxt, steps.open_weights(weights_file), replace(reading, splits=splits))


def load(
    prototxt: Prototxt,
    weights_file: PathLike | Weights | None = None,
    *,
    seed: int = SEED,
    rng: str = "boost-1.64",
    phase: Phase = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Inputs | None = None,
    batch: Batch = None,
    ignore_unknown: Sequence[str] = (),
    fork: str | None = None,
    until: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    deploy: bool = False,
    slopes: Literal["auto"] | None = None,
    allow_missing: bool = False,
    allow_reshape: bool = False,
) -> Net:
    """Read a net with the weights of a file, and the fillers' for layers that are not in it.

    Args:
        prototxt: the net: its file, or a `NetParameter`.
        weights_file: a caffemodel or Caffe's HDF5, whose layers are found by name; None: the
            fillers draw all weights.
        seed: of the fillers' random numbers; 0 to 2**32 - 1.
        rng: whose random numbers: `boost-1.64` (Caffe built with Boost 1.64 or later),
            `boost-1.56`, `boost-1.55`, or `fast` (numpy's, not Caffe's).
        phase: as for `read`, like all up to `deploy`.
        level: NetState's level.
        stages: NetState's stages.
        inputs: shapes that override or supply the inputs'.
        batch: the size of every input's first axis, `dynamic` for an open one.
        ignore_unknown: the unknown fields to do without, by name.
        fork: whose layers.
        until: the blobs to cut the net at.
        leave_out: layers to take out.
        deploy: turn a training net into its deploy form.
        slopes: `auto` finds the slope of every msra filler in the net itself, in place of the
            prototxt's `a`; PReLU slopes are those of the weights file where it has them.
        allow_missing: take a file that has none of the net's layers; the fillers draw all.
        allow_reshape: take blobs of another shape and equal count, as their numbers lie.

    Raises:
        WeightsError: the file is damaged, is not one, does not fit the net, or has none of its
            layers.
        CaffeCompatError: as for `read`.
    """
    reading = Reading(
        phase, level, stages, inputs or {}, batch, ignore_unknown, fork, until, leave_out, deploy
    )
    drawing, copying = Filling(seed, rng, slopes), Copying(allow_missing, allow_reshape)
    return load_net(prototxt, steps.open_weights(weights_file), reading, drawing, copying)


def fill(
    graph: Graph,
    *,
    seed: int = SEED,
    rng: str = "boost-1.64",
    slopes: Literal["auto"] | None = None,
) -> Net:
    """Give a graph, as `read` returns it, the weights that its fillers draw.

    Args:
        graph: the net without weights.
        seed: as for `load`, like the others.
        rng: whose random numbers.
        slopes: `auto`, or None.

    Raises:
        CaffeCompatError: a filler is refused, or there is not the memory for the weights.
    """
    return steps.fill(graph, None, Filling(seed, rng, slopes))


def lower(
    net: Net,
    *,
    opset: int = OPSET,
    blobs: Sequence[str] = (),
    target: Target = "onnxruntime",
    fold_batchnorm: bool = False,
    passes: Sequence[Pass] = (),
) -> Lowered:
    """Return a net as an ONNX model in memory, whose weights stay where they are.

    Args:
        net: the net with its weights.
        opset: as for `to_onnx`, like the others.
        blobs: blobs to add to the outputs.
        target: the reader of the model.
        fold_batchnorm: fold BatchNorm and Scale into the layers before them.
        passes: further rewrites, applied in order.

    Raises:
        UnsupportedError: as for `to_onnx`.
    """
    return lower_net(net, Onnx(opset, None, blobs, target, fold_batchnorm, tuple(passes)))


def to_onnx(
    net: Net,
    path: PathLike,
    *,
    opset: int = OPSET,
    weights_as: WeightsAs | None = None,
    blobs: Sequence[str] = (),
    target: Target = "onnxruntime",
    fold_batchnorm: bool = False,
    passes: Sequence[Pass] = (),
) -> Saved:
    """Write a net as an ONNX file.

    Args:
        net: the net with its weights.
        path: the file to write; an old one stays if this fails.
        opset: the version of ONNX's operators.
        weights_as: `inline`, `external` (PATH.data beside it) or `in-place` (the caffemodel
            itself); by default inline below 1.5 GB, external above.
        blobs: blobs to add to the net's own outputs.
        target: the reader of the file: `onnxruntime`, or `opencv`, OpenCV 5's own importer.
        fold_batchnorm: fold BatchNorm and Scale into the layers before them where that is exact.
        passes: further rewrites of the lowered net, applied in order.

    Raises:
        UnsupportedError: the layers that have no exact ONNX form, or that the target cannot
            compute, all at once.
        CaffeCompatError: the file cannot be written.
    """
    onnx = Onnx(opset, weights_as, blobs, target, fold_batchnorm, tuple(passes))
    return save_onnx(lower_net(net, onnx), path, onnx.weights_as)


class Trained(Protocol):
    """Something trained elsewhere that is a net still, as a torch module of `to_torch` is."""

    def to_net(self) -> Net:
        """Return the net with the weights as they are now."""


def save(net: Net | Trained, path: PathLike) -> None:
    """Write a net by its path's suffix: `.caffemodel`, Caffe's HDF5 (`.h5`), `.prototxt`, `.onnx`.

    A torch module of `to_torch` is written with its parameters as they are now.

    The first two have every blob as Caffe would save it. A prototxt has the layers of the net's
    phase in Caffe's current form. An ONNX file has what the net's outputs need: not BatchNorm's
    third blob, and no loss without a top.

    Raises:
        CaffeCompatError: the suffix is none of these, or the file cannot be written.
    """
    net = net if isinstance(net, Net) else net.to_net()
    if Path(path).suffix == ".onnx":
        to_onnx(net, path)
    else:
        saving.save(net, path)
