"""The options of the line in three groups, each packed once, at the entrance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .caffe_pb2 import TEST, TRAIN
from .errors import CaffeCompatError, UnsupportedError
from .net.sizes import Batch
from .onnx.opsets import OPSET, OPSETS

if TYPE_CHECKING:  # these import onnx, which not every command needs
    from .onnx.passes import Pass
    from .onnx.passes.opencv import Target
    from .onnx.writer import WeightsAs

PathLike: TypeAlias = str | Path
Phase = Literal["TEST", "TRAIN"]

Inputs: TypeAlias = Mapping[str, Sequence[int | None]]
SEED = 1701


@dataclass(frozen=True)
class Reading:
    """The options of reading a prototxt to a graph.

    Attributes:
        phase: TEST or TRAIN; with `level` and `stages` it selects the layers, as Caffe does.
        level: NetState's level.
        stages: NetState's stages, beside those of the file.
        inputs: shapes by input that override or supply the prototxt's; None for an open axis.
        batch: the size of every input's first axis, `dynamic` for an open one.
        ignore_unknown: the fields that only a fork knows to do without, as `pad_l` or
            `ConvolutionParameter.pad_l`.
        fork: whose layers, for types that forks of Caffe define differently under one name.
        splits: insert the Split layers that Caffe inserts behind a blob with several readers.

    Raises:
        CaffeCompatError: no such phase.
    """

    phase: Phase = "TEST"
    level: int = 0
    stages: tuple[str, ...] = ()
    inputs: Inputs = field(default_factory=dict)
    batch: Batch = None
    ignore_unknown: Sequence[str] = ()
    fork: str | None = None
    splits: bool = False

    def __post_init__(self) -> None:
        if self.phase not in get_args(Phase):
            raise CaffeCompatError(f"phase is {self.phase!r}; it is 'TEST' or 'TRAIN'")

    @property
    def number(self) -> int:
        """The phase as Caffe's messages number it."""
        return TRAIN if self.phase == "TRAIN" else TEST


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
        CaffeCompatError: `slopes` is neither `auto` nor None.
    """

    seed: int = SEED
    rng: str = "boost-1.64"
    slopes: Literal["auto"] | None = None

    def __post_init__(self) -> None:
        if self.slopes not in (None, "auto"):
            raise CaffeCompatError(f"slopes is {self.slopes!r}; it is 'auto' or None")


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
    """

    opset: int = OPSET
    weights_as: WeightsAs | None = None
    blobs: tuple[str, ...] = ()
    target: Target = "onnxruntime"
    fold_batchnorm: bool = False
    passes: tuple[Pass, ...] = ()

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise UnsupportedError(
                f"opset {self.opset}: this writes {OPSETS[0]} to {OPSETS[-1]}", remedies=("opset",)
            )
