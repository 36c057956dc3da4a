"""Fields that the schema does not know, and what they mean for the net."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..caffe_pb2 import LayerParameter, V1LayerParameter
from ..errors import ParseError, UnsupportedError

log = logging.getLogger("caffe_compat")

_HARMLESS_MESSAGES = (
    "DataParameter",
    "HDF5DataParameter",
    "ImageDataParameter",
    "MemoryDataParameter",
    "ParamSpec",
    "TransformationParameter",
    "WindowDataParameter",
)
_HARMLESS_FIELDS = re.compile(r"engine|cudnn_\w+|\w*workspace\w*|lr_mult|decay_mult")

# Fields of forks that are known to change a layer's numbers, so that no message proposes to
# ignore them.
_CHANGING = frozenset(
    [
        "ceil_mode",
        "dilation_h",
        "dilation_w",
        "hole",
        "hole_h",
        "hole_w",
        "keep_dims",
        "normalize_variance",
        "pad_b",
        "pad_bottom",
        "pad_end",
        "pad_l",
        "pad_left",
        "pad_r",
        "pad_right",
        "pad_t",
        "pad_top",
        "pad_type",
        "relu6",
        "round_mode",
        "scale_bias",
        "scale_train",
        "torch_pooling",
        "use_global_stats",
    ]
)


@dataclass(frozen=True)
class Skipped:
    """A field, or a value of an enum, that the schema does not know and the reader left out.

    Attributes:
        file: the file's name, as the caller wrote it.
        line: the line of the field's name, from 1.
        column: its column, from 1.
        path: the message around it, from the outermost: 'layer[3].convolution_param', or ''.
        message: that message's type: 'ConvolutionParameter'.
        field: the field's name.
        value: the enum value that is unknown; '' where the field itself is.
        layer: index in the file's `layer` (V2) or `layers` (V1, V0); None outside layers.
        layer_name: that layer's name.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    field: str
    value: str = ""
    layer: int | None = None
    layer_name: str = ""

    def __str__(self) -> str:
        """Return one line: the position, and the unknown field or value."""
        owner = f"layer '{self.layer_name}': " if self.layer is not None else ""
        fact = f"{self.message} has no field '{self.field}'"
        if self.value:
            fact = f"{self.message}.{self.field} has no value '{self.value}'"
        return f"{self.file}:{self.line}:{self.column}: {owner}{fact}"

    @property
    def name(self) -> str:
        """The field with its message: 'PoolingParameter.ceil_mode'."""
        return f"{self.message}.{self.field}"

    def matches(self, names: Collection[str]) -> bool:
        """Return whether one of the names, with or without the message, is the field's."""
        return self.field in names or self.name in names


def is_harmless(skip: Skipped, layer: LayerParameter | V1LayerParameter) -> bool:
    """Return whether a field can change no number that the net computes from its inputs.

    These are the choices of a library, learning rates, and the fields of data layers, whose tops
    the caller feeds.

    Args:
        skip: the field.
        layer: the layer that it is in, as it was read.
    """
    if skip.message == "NetStateRule" or skip.field == "type":
        return False
    if skip.message in _HARMLESS_MESSAGES or _HARMLESS_FIELDS.fullmatch(skip.field):
        return True
    return not layer.bottom and _is_data(layer)


def _is_data(layer: LayerParameter | V1LayerParameter) -> bool:
    """Return whether the caller feeds the layer's tops; DummyData computes its own."""
    if isinstance(layer, LayerParameter):
        return layer.type.endswith("Data") and layer.type != "DummyData"
    name = V1LayerParameter.LayerType.Name(layer.type)
    return name.endswith("DATA") and name != "DUMMY_DATA"


@dataclass(frozen=True)
class Unknown:
    """The fields that a reader left out of a net.

    Attributes:
        skipped: all of them, in the file's order.
        counted: those in layers of the phase, without which the net's meaning is not known.

    Raises:
        UnsupportedError: layers of the phase have a type that V1's enum lacks, all at once.
    """

    skipped: Sequence[Skipped] = ()
    counted: Sequence[Skipped] = ()

    def __post_init__(self) -> None:
        layers = [
            f"layer '{skip.layer_name}' ({skip.value}): unknown layer type"
            for skip in self.counted
            if skip.field == "type"
        ]
        if layers:
            raise UnsupportedError("; ".join(layers))

    def accept(self, ignore: Collection[str] = ()) -> tuple[str, ...]:
        """Log the fields, or refuse those that count and are not named.

        Args:
            ignore: the names of fields to do without, as `pad_l` or `ConvolutionParameter.pad_l`.

        Returns:
            The names, with their messages, of the fields that count and were ignored.

        Raises:
            ParseError: fields count and are not named, or a known field has an unknown value.
        """
        if isinstance(ignore, bool) or "" in (ignore or ()):
            raise ParseError(self._name_fields())
        names = (ignore,) if isinstance(ignore, str) else tuple(ignore)
        refused = [skip for skip in self.counted if skip.value or not skip.matches(names)]
        if refused:
            first = "; ".join(str(skip) for skip in refused[:5])
            more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
            advice = self._advice(refused)
            raise ParseError(
                f"{first}{more}{advice}", remedies=("ignore_unknown",) if advice else ()
            )
        for skip in self.skipped:
            log.warning("skipped: %s", skip)
        return tuple(dict.fromkeys(skip.name for skip in self.counted))

    def _advice(self, refused: Sequence[Skipped]) -> str:
        """Return how to go on; nothing where a field is known to change numbers."""
        if any(skip.value or skip.field in _CHANGING for skip in refused):
            return ""
        names = tuple(dict.fromkeys(skip.field for skip in self.counted))
        return f"; ignore_unknown={names!r} reads on without their meaning"

    def _name_fields(self) -> str:
        fields = tuple(dict.fromkeys(skip.field for skip in self.counted if not skip.value))
        if not fields:
            return "ignore_unknown takes the names of fields, and this net needs none"
        return f"ignore_unknown takes the names of fields; this net needs ignore_unknown={fields!r}"
