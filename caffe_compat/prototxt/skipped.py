"""Fields that the schema does not know, and what they mean for the net."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..caffe_pb2 import LayerParameter, NetParameter, V1LayerParameter
from ..errors import ParseError

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
# A library's choice, and what only training reads (connectivity_mode: of SkimCaffe's updates).
_HARMLESS_FIELDS = re.compile(
    r"engine|\w*cudnn\w*|\w*workspace\w*|lr_mult|decay_mult|connectivity_mode"
    r"|conv_algorithm|gemm_mode|spmdm_transpose_in"
)

# Words in the names of fields that are likely to change a layer's numbers, so that no message
# proposes to ignore these.
_CHANGING = re.compile(
    r"(?:.*_)?(?:activation\w*|algorithm|alpha|average|axis|beta|bias|bidirectional|ceil|clip"
    r"|compress|dilation|dims?|eps|first|fuse|gamma|height|hidden|hole|icnet|kernel|max|mean|min"
    r"|mode|nms|noise|norm\w*|num|pad|permute|pixelshuffler|pooling|quant\w*|ratio|relu\w*|round"
    r"|sample|scale|score|sigma|size|sqrt|stats|stride|threshold|transpose|type|var\w*"
    r"|weight(?:s|ing)?|width)(?:_.*)?|.*_param"
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
        again: whether the schema knows the field, and it is given a second time.
        text: the field as it is written, where it is a layer's own message of parameters.
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
    again: bool = False
    text: str = ""

    def __str__(self) -> str:
        """Return one line: the position, and the unknown field or value."""
        owner = f"layer '{self.layer_name}': " if self.layer is not None else ""
        fact = f"{self.message} has no field '{self.field}'"
        if self.again:
            fact = f"{self.message}.{self.field} is given a second time"
        if self.value:
            fact = f"{self.message}.{self.field} has no value '{self.value}'"
        return f"{self.file}:{self.line}:{self.column}: {owner}{fact}"

    @property
    def is_configuration(self) -> bool:
        """Whether the field is what configures layers of one type, as `region_param`."""
        return self.message == "LayerParameter" and self.field.endswith("_param")

    @property
    def is_known(self) -> bool:
        """Whether the schema has the field, but not its value, or not twice."""
        return bool(self.value) or self.again

    @property
    def is_likely_to_change_numbers(self) -> bool:
        """Whether the field's name says so; a filler does so only where weights are drawn."""
        return not self._is_filler() and bool(_CHANGING.fullmatch(self.field))

    @property
    def name(self) -> str:
        """The field with its message: 'PoolingParameter.ceil_mode'."""
        return f"{self.message}.{self.field}"

    def matches(self, names: Collection[str]) -> bool:
        """Return whether one of the names, with or without the message, is the field's."""
        return self.field in names or self.name in names

    def counts(self, built: Collection[str] | None, stored: Collection[str]) -> bool:
        """Return whether the field can change a number of a net.

        Args:
            built: the names of the net's layers that are no inputs; None: all layers count.
            stored: the names of those whose weights are given.
        """
        if (self.message == "V1LayerParameter" and self.field == "type") or (
            self.layer_name in stored and self._is_filler()
        ):
            return False
        return built is None or self.message == "NetStateRule" or self.layer_name in built

    def _is_filler(self) -> bool:
        return self.message == "FillerParameter" or self.field.endswith("filler")


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
    """

    skipped: Sequence[Skipped] = ()
    counted: Sequence[Skipped] = ()

    def configure(self, net: NetParameter, params: Mapping[str, Collection[str]]) -> Unknown:
        """Give layers of the caller's own types their parameters, as text, in `custom_param`.

        Args:
            net: the net as it was read; changed in place.
            params: the fields that configure the layers of each type.

        Returns:
            The fields that are still unknown.
        """
        taken: set[Skipped] = set()
        for skip in self.skipped:
            if skip.is_configuration and skip.layer is not None:
                layer = net.layer[skip.layer]
                if skip.field in params.get(layer.type, ()):
                    layer.custom_param = skip.text
                    taken.add(skip)
        left = [[s for s in own if s not in taken] for own in (self.skipped, self.counted)]
        return Unknown(*left)

    def name_types(self, net: NetParameter) -> NetParameter:
        """Return an upgraded net with the types that V1's enum lacks, as they are written."""
        types = {
            skip.layer_name: skip.value
            for skip in self.skipped
            if skip.message == "V1LayerParameter" and skip.field == "type"
        }
        if not types:
            return net
        new = NetParameter()
        new.CopyFrom(net)
        for layer in new.layer:
            layer.type = layer.type or types.get(layer.name, "")
        return new

    def accept(
        self,
        ignore: Collection[str] = (),
        net: NetParameter | None = None,
        stored: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Refuse the fields that count and are not named.

        Args:
            ignore: the names of fields to do without, as `pad_l` or `ConvolutionParameter.pad_l`.
            net: the layers that are built, so that no other layer's fields count, nor those of
                inputs; None: all of the phase.
            stored: the layers whose weights are given, so that their fillers draw nothing.

        Returns:
            The names, with their messages, of the fields that count and were ignored.

        Raises:
            ParseError: fields count and are not named, or a known field has an unknown value.
        """
        if isinstance(ignore, bool) or "" in (ignore or ()):
            raise ParseError(self._name_fields())
        names = (ignore,) if isinstance(ignore, str) else tuple(ignore)
        built = None if net is None else _built(net)
        counted = [skip for skip in self.counted if skip.counts(built, stored)]
        refused = [skip for skip in counted if skip.is_known or not skip.matches(names)]
        if refused:
            first = "; ".join(str(skip) for skip in refused[:5])
            more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
            advice = _advice(refused, counted)
            fields = tuple(dict.fromkeys(skip.field for skip in refused))
            raise ParseError(
                f"{first}{more}{advice}",
                remedies=("ignore_unknown",) if advice else (),
                changes=[{"ignore_unknown": fields}] if advice else (),
            )
        return tuple(dict.fromkeys(skip.name for skip in counted))

    def report(self, net: NetParameter, stored: Collection[str] = ()) -> None:
        """Log the fields, those that can change a number of the net as warnings."""
        built, counted = _built(net), set(self.counted)
        for skip in self.skipped:
            counts = skip in counted and skip.counts(built, stored)
            log.log(logging.WARNING if counts else logging.INFO, "skipped: %s", skip)

    def _name_fields(self) -> str:
        fields = tuple(dict.fromkeys(skip.field for skip in self.counted if not skip.is_known))
        if not fields:
            return "ignore_unknown takes the names of fields, and this net needs none"
        return f"ignore_unknown takes the names of fields; this net needs ignore_unknown={fields!r}"


def _built(net: NetParameter) -> set[str]:
    """Return the names of a net's layers that are no inputs."""
    return {layer.name for layer in net.layer if layer.type != "Input"}


def _advice(refused: Sequence[Skipped], counted: Sequence[Skipped]) -> str:
    """Return how to go on; nothing where a field is likely to change numbers."""
    if any(skip.is_known or skip.is_likely_to_change_numbers for skip in refused):
        return ""
    names = tuple(dict.fromkeys(skip.field for skip in counted))
    return f"; ignore_unknown={names!r} reads on without their meaning"
