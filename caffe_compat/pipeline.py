"""The straight line: from a prototxt and its weights to a net, an ONNX file, a session."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from . import weights
from .caffe_pb2 import TEST, TRAIN, NetParameter, ParamSpec
from .errors import CaffeCompatError, ParseError, UnsupportedError
from .fillers.rng import make_rng
from .net import build, graph
from .net.filling import fill, trained
from .net.net import Net
from .net.slopes import apply, resolve
from .net.stock import stock
from .onnx import writer
from .onnx.lowering import OPSET, lower
from .onnx.passes import opencv
from .prototxt import reader, upgrade
from .prototxt.parser import Skipped
from .prototxt.phase import select, select_skipped
from .prototxt.splits import insert_splits
from .prototxt.writer import write_text
from .types import Shape
from .weights import snapshot
from .weights.trained import Weights

log = logging.getLogger("caffe_compat")

Phase = Literal["TEST", "TRAIN"]
Inputs = Mapping[str, Sequence[int | None]]
PathLike = str | Path
SEED = 1701


def read(
    prototxt: PathLike,
    *,
    phase: Phase = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Inputs | None = None,
    batch: int | Literal["dynamic"] | None = None,
    ignore_unknown: bool = False,
    fork: str | None = None,
    stored: Mapping[str, Sequence[Shape]] | None = None,
    splits: bool = False,
) -> graph.Graph:
    """Read a net's prototxt of any era: its layers in that phase, with their shapes.

    Args:
        prototxt: the file.
        phase: TEST or TRAIN; with `level` and `stages` it selects the layers, as Caffe does.
        level: NetState's level.
        stages: NetState's stages, beside those that the file gives.
        inputs: shapes that override or supply those of the inputs; None for an axis of any size.
        batch: the size of every input's first axis, `dynamic` for any.
        ignore_unknown: accept fields that only a fork knows, without their meaning.
        fork: whose layers those are that forks of Caffe define differently under one name.
        stored: by layer name the shapes of the blobs in the weights file, where there is one.
        splits: put in the Split layers that Caffe puts behind a blob with several readers, so that
            the layers and blobs are Caffe's own, by its names.

    Raises:
        ParseError: the file is no prototxt, or a layer that runs has a field that is not known.
        UnsupportedError: the net's unsupported layer types, all at once.
        ShapeError: what Caffe's CHECKs refuse.
    """
    number = {"TEST": TEST, "TRAIN": TRAIN}[phase]
    stages = tuple(stages)
    net, skipped = reader.read_net(prototxt, number)
    kept = select_skipped(skipped, net, number, level, stages)
    untyped = [skip for skip in kept if skip.field == "type"]  # V1's enum lacks the value
    if untyped:
        raise UnsupportedError(
            "; ".join(
                f"layer '{skip.layer_name}' ({skip.value}): unknown layer type" for skip in untyped
            )
        )
    selected = select(upgrade.upgrade(net), number, level, stages)
    if splits:
        selected = insert_splits(selected)
    layers = build.create(selected, fork, stored)
    if kept and not ignore_unknown:
        raise ParseError(
            f"{_list(kept)}; --ignore-unknown (ignore_unknown=True) reads on without their meaning"
        )
    for skip in skipped:
        log.warning("skipped: %s", skip)
    built = build.connect(selected, layers, inputs)
    if batch is None:
        return built
    size = None if batch == "dynamic" else batch
    every = {v.blob: (size, *v.dims[1:]) for v in built.inputs if v.dims}
    return build.connect(selected, layers, every)


def load(
    prototxt: PathLike,
    weights_file: PathLike | None = None,
    *,
    seed: int = SEED,
    rng: str = "boost-1.64",
    phase: Phase = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Inputs | None = None,
    batch: int | Literal["dynamic"] | None = None,
    ignore_unknown: bool = False,
    fork: str | None = None,
    slopes: Literal["auto"] | None = None,
) -> Net:
    """Read a net with its weights: those of a file, and what the file lacks from the fillers.

    Args:
        prototxt: the net.
        weights_file: a caffemodel or Caffe's HDF5; layers are found by name. None: the fillers
            draw all of it.
        seed: of the fillers' random numbers; 0 to 2**32 - 1.
        rng: whose random numbers: `boost-1.64` (Caffe built with Boost 1.64 or later),
            `boost-1.56`, `boost-1.55`, or `fast` (numpy's, not Caffe's).
        phase: as for `read`, as are the others.
        level: NetState's level.
        stages: NetState's stages.
        inputs: shapes that override or supply the inputs'.
        batch: the size of every input's first axis, `dynamic` for any.
        ignore_unknown: accept fields that only a fork knows.
        fork: whose layers those are that forks define differently; the number and the shapes of a
            layer's blobs in the file may tell, too.
        slopes: `auto` finds the slope of every msra filler in the net itself, in the place of
            the `a` that the prototxt gives; PReLU slopes are those of the file where it has them.

    Raises:
        WeightsError: the file is damaged, is not one, or does not fit the net.
        CaffeCompatError: as for `read`.
    """
    if slopes not in (None, "auto"):
        raise CaffeCompatError(f"slopes is {slopes!r}; it is 'auto' or None")
    held = None if weights_file is None else weights.read(weights_file)
    layers = held.layers if held else ()
    shapes = {layer.name: [blob.array.shape for blob in layer.blobs] for layer in layers}
    built = read(
        prototxt,
        phase=phase,
        level=level,
        stages=stages,
        inputs=inputs,
        batch=batch,
        ignore_unknown=ignore_unknown,
        fork=fork,
        stored=shapes,
    )
    if slopes:
        built = _resolve(built, held)
    stream = make_rng(rng, seed)
    if held is None:
        net = fill(built, stream)
        left = {node.layer.name for node in built.nodes}
    else:
        net, report = trained(built, held, stream)
        left = set(report.left)
        if left:
            log.warning(
                "left at their fillers, since %s does not have them: %s",
                weights_file,
                ", ".join(report.left),
            )
        if report.unused:
            log.info("in %s and not in the net: %s", weights_file, ", ".join(report.unused))
    _warn_of_zeros(built, left)
    return net


def _resolve(built: graph.Graph, held: Weights | None) -> graph.Graph:
    """The net with the stds that its rectifiers ask of its msra fillers."""
    resolved = resolve(built, held)
    if not any(each.filler.type == "msra" for each in resolved):
        log.warning("no layer's weights have an msra filler, so slopes change nothing")
    return apply(built, resolved)


def to_onnx(
    net: Net,
    path: PathLike,
    *,
    opset: int = OPSET,
    weights_as: writer.WeightsAs | None = None,
    blobs: Sequence[str] = (),
    target: opencv.Target = "onnxruntime",
) -> writer.Saved:
    """Write a net as an ONNX file.

    Args:
        net: the net with its weights.
        path: the file to write; what was there stays if this fails.
        opset: the version of ONNX's operators.
        weights_as: `inline`, `external` (PATH.data beside it) or `in-place` (the caffemodel
            itself); by default inline below 1.5 GB, external above.
        blobs: blobs to give as outputs beside the net's own.
        target: who will read it: `onnxruntime`, or `opencv`, OpenCV 5's own importer.

    Raises:
        UnsupportedError: the layers that have no exact ONNX form, or that the target cannot
            compute, all at once.
    """
    extra = [net.graph.blob(name) for name in blobs]
    return writer.save(opencv.fit(lower(net, opset, extra), net, target), path, weights_as)


def save_stock(
    prototxt: PathLike, built: graph.Graph, path: PathLike, *, fix_decay: bool = False
) -> None:
    """Write a net's prototxt for a stock Caffe: it draws the same weights at the same seed.

    The layers of all phases are written, in Caffe's current form; where a slope sets the std of
    a msra filler, that is a gaussian of this std.

    Args:
        prototxt: what the graph was read from.
        built: the graph, as `load` gives it in `Net.graph`.
        path: the file to write.
        fix_decay: add `decay_mult: 0` to every PReLU, so that training leaves its slopes alone.

    Raises:
        ParseError: the prototxt has fields that are not known, and that would be lost.
        UnsupportedError: what a stock prototxt cannot say.
    """
    net, skipped = reader.read_net(prototxt, built.net.state.phase)
    if skipped:
        raise ParseError(f"{skipped[0]}; {path} is not written, since it would be lost")
    write_text(stock(upgrade.upgrade(net), built, fix_decay=fix_decay), path)


def save(net: Net, path: PathLike) -> None:
    """Write a net's weights: a `.caffemodel`, Caffe's HDF5 (`.h5`), or an `.onnx` file.

    The first two hold every blob as Caffe would save it. An ONNX file holds what the net's outputs
    need: BatchNorm's third blob is in the other two, and a loss without a top computes nothing.

    Raises:
        CaffeCompatError: the suffix is none of these, or the file cannot be written.
    """
    name = Path(path).name
    if name.endswith(".onnx"):
        to_onnx(net, path)
        return
    message, places = _with_splits(net)
    params = [net.arrays[index] if index is not None else () for index in places]
    if name.endswith(".h5"):
        snapshot.write_hdf5(
            path,
            [layer.name for layer in message.layer],
            params,
            [
                (at, i)
                for at, index in enumerate(places)
                if index is not None
                for i, owner in enumerate(net.graph.nodes[index].owners)
                if owner != (index, i)
            ],
        )
    elif name.endswith(".caffemodel"):
        snapshot.write_caffemodel(path, message, params)
    else:
        raise CaffeCompatError(f"{path}: ends in none of .caffemodel, .caffemodel.h5, .onnx")


def _with_splits(net: Net) -> tuple[NetParameter, list[int | None]]:
    """The layers as Caffe saves them, its Split layers included, and each one's node (or None)."""
    message = NetParameter(name=net.graph.net.name)
    places: list[int | None] = []
    for layer in insert_splits(net.graph.net).layer:
        done = len(places) - places.count(None)
        own = done < len(net.graph.nodes) and layer.name == net.graph.nodes[done].layer.name
        places.append(done if own else None)
        saved = message.layer.add()
        saved.CopyFrom(layer)
        if layer.type == "BatchNorm":
            del saved.param[:]
            saved.param.extend([ParamSpec(lr_mult=0)] * 3)
    return message, places


def convert(
    prototxt: PathLike,
    weights_file: PathLike | None,
    path: PathLike,
    *,
    opset: int = OPSET,
    weights_as: writer.WeightsAs | None = None,
    phase: Phase = "TEST",
    inputs: Inputs | None = None,
    batch: int | Literal["dynamic"] | None = None,
    fork: str | None = None,
    target: opencv.Target = "onnxruntime",
) -> writer.Saved:
    """From a prototxt and a caffemodel to an ONNX file; `load` and `to_onnx` in one."""
    net = load(prototxt, weights_file, phase=phase, inputs=inputs, batch=batch, fork=fork)
    return to_onnx(net, path, opset=opset, weights_as=weights_as, target=target)


def _list(skipped: Sequence[Skipped]) -> str:
    most = "; ".join(str(skip) for skip in skipped[:5])
    return most + (f"; and {len(skipped) - 5} more" if len(skipped) > 5 else "")


def _warn_of_zeros(built: graph.Graph, left: set[str]) -> None:
    """Name the layers whose weights are all zero because the prototxt gives no filler."""
    zero = [
        node.layer.name
        for index, node in enumerate(built.nodes)
        if node.layer.name in left and not node.layer.proto.blobs
        for i, blob in enumerate(node.blobs)
        if blob.name.startswith(("weight", "W_"))
        and node.owners[i] == (index, i)
        and blob.filler is not None
        and (blob.filler.type, blob.filler.value) == ("constant", 0)
    ]
    if zero:
        log.warning(
            "weights are all 0, for want of a weight_filler: %s", ", ".join(dict.fromkeys(zero))
        )
