"""The options of the line in groups, each packed once, at the entrance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, SupportsIndex, TypeAlias, get_args

import numpy as np

from . import caffe_pb2
from .caffe_pb2 import NetParameter
from .errors import CaffeCompatError, UnsupportedError
from .layers.layer import Find
from .net.sizes import Batch
from .onnx.opsets import OPSET, OPSETS

if TYPE_CHECKING:  # these import onnx, which not every command needs
    from .onnx.passes import Pass
    from .onnx.passes.targets import Target
    from .onnx.writer import WeightsAs

PathLike: TypeAlias = str | Path
Prototxt: TypeAlias = PathLike | NetParameter
Phase = Literal["TEST", "TRAIN", "RUN"]

Inputs: TypeAlias = Mapping[str, Sequence[int | None]]
SEED = 1701


def names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; a string is one name."""
    return (value,) if isinstance(value, str) else tuple(value)


@dataclass(frozen=True)
class Reading:
    """The options of reading a prototxt to a graph.

    Attributes:
        phase: TEST, TRAIN or MyCaffe's RUN; with `level` and `stages` it selects the layers, as
            Caffe does.
        level: NetState's level.
        stages: NetState's stages, beside those of the file.
        inputs: shapes by input that override or supply the prototxt's; None for an open axis.
        batch: the size of every input's first axis, `dynamic` for an open one.
        ignore_unknown: the fields that only a fork knows to do without, as `pad_l` or
            `ConvolutionParameter.pad_l`.
        fork: whose layers, for types that forks of Caffe define differently under one name.
        until: the blobs to cut the net at; empty: none.
        leave_out: layers, by name or type, to take out with whatever reads their tops.
        deploy: turn a training net into its deploy form.
        splits: insert the Split layers that Caffe inserts behind a blob with several readers.
        find: looks up the files that layers name, where the user lets them be opened; None: they
            are not read.

    Raises:
        CaffeCompatError: an option is not of its kind.
    """

    phase: Phase = "TEST"
    level: int = 0
    stages: Iterable[str] = ()
    inputs: Inputs = field(default_factory=dict)
    batch: Batch = None
    ignore_unknown: Sequence[str] = ()
    fork: str | None = None
    until: Iterable[str] = ()
    leave_out: Iterable[str] = ()
    deploy: bool = False
    splits: bool = False
    find: Find | None = None

    def __post_init__(self) -> None:
        if self.phase not in get_args(Phase):
            raise CaffeCompatError(f"phase is {self.phase!r}; it is 'TEST', 'TRAIN' or 'RUN'")
        for name in ("stages", "until", "leave_out"):
            value = getattr(self, name)
            if not isinstance(value, Iterable):
                raise CaffeCompatError(f"{name} is {value!r}; it is a sequence of names")
            object.__setattr__(self, name, names(value))
        if not _is_whole(self.level):
            raise CaffeCompatError(f"level is {self.level!r}; it is a whole number")
        if not (self.batch in (None, "dynamic") or _is_whole(self.batch)):
            raise CaffeCompatError(f"batch is {self.batch!r}; it is a number or 'dynamic'")
        if not (self.fork is None or isinstance(self.fork, str)):
            raise CaffeCompatError(f"fork is {self.fork!r}; it is a name, as 'bvlc'")
        if not (isinstance(self.inputs, Mapping) and all(map(_is_shape, self.inputs.values()))):
            raise CaffeCompatError(
                f"inputs is {self.inputs!r}; it gives shapes by input, as "
                '{"data": (1, 3, 224, 224)}, with None for an axis of any size',
                remedies=("inputs",),
            )

    @property
    def number(self) -> int:
        """The phase as the schema numbers it."""
        return caffe_pb2.Phase.Value(self.phase)


@dataclass(frozen=True)
class Filling:
    """The options of drawing the parameters that no weights file has.

    Attributes:
        seed: of the random numbers; 0 to 2**32 - 1.
        rng: whose random numbers: `boost-1.64` (Caffe built with Boost 1.64 or later),
            `boost-1.56`, `boost-1.55`, or `fast` (numpy's, not Caffe's).
        slopes: `auto` finds the slope of every msra filler in the net itself, in place of the
            prototxt's `a`.

    Raises:
        CaffeCompatError: the seed is no whole number, or `slopes` neither `auto` nor None.
    """

    seed: int = SEED
    rng: str = "boost-1.64"
    slopes: Literal["auto"] | None = None

    def __post_init__(self) -> None:
        if not _is_whole(self.seed):
            raise CaffeCompatError(f"seed is {self.seed!r}; it is a whole number")
        if self.slopes not in (None, "auto"):
            raise CaffeCompatError(f"slopes is {self.slopes!r}; it is 'auto' or None")


@dataclass(frozen=True)
class Copying:
    """How far a weights file may differ from the net that it is for.

    Attributes:
        allow_missing: take a file that has none of the net's layers; the fillers draw all.
        allow_reshape: take blobs of another shape and equal count, as their numbers lie.
    """

    allow_missing: bool = False
    allow_reshape: bool = False


@dataclass(frozen=True)
class Onnx:
    """The options of writing a net to an ONNX file.

    Attributes:
        opset: the version of ONNX's operators: 11 to 23.
        weights_as: `inline`, `external` (PATH.data beside the file) or `in-place` (the caffemodel
            itself); by default inline below 1.5 GB, external above.
        blobs: blobs to add to the net's own outputs.
        target: the reader of the file: `onnxruntime`, or `opencv`, OpenCV 5's own importer.
        fold_batchnorm: fold BatchNorm and Scale into the layers before them where that is exact.
        passes: further rewrites of the lowered net, applied in order after the target's own.

    Raises:
        CaffeCompatError: an option is not of its kind.
    """

    opset: int = OPSET
    weights_as: WeightsAs | None = None
    blobs: Sequence[str] = ()
    target: Target = "onnxruntime"
    fold_batchnorm: bool = False
    passes: tuple[Pass, ...] = ()

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise UnsupportedError(
                f"opset {self.opset}: this writes {OPSETS[0]} to {OPSETS[-1]}", remedies=("opset",)
            )
        object.__setattr__(self, "blobs", names(self.blobs))
        if self.weights_as not in (None, "inline", "external", "in-place"):
            raise CaffeCompatError(
                f"weights_as is {self.weights_as!r}; it is 'inline', 'external' or 'in-place'"
            )


def _is_whole(value: object) -> bool:
    return isinstance(value, SupportsIndex) and not isinstance(value, bool)


def _is_shape(dims: object) -> bool:
    return isinstance(dims, Sequence | np.ndarray) and all(
        dim is None or _is_whole(dim) for dim in dims
    )
