"""Fields that the schema does not know, and what they mean for the net."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ParseError, UnsupportedError

log = logging.getLogger("caffe_compat")


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

    def accept(self, *, ignore: bool) -> None:
        """Log the fields, or refuse those that count.

        Args:
            ignore: go on without the meaning of those that count, too.

        Raises:
            ParseError: fields count.
        """
        if self.counted and not ignore:
            first = "; ".join(str(skip) for skip in self.counted[:5])
            more = f"; and {len(self.counted) - 5} more" if len(self.counted) > 5 else ""
            raise ParseError(
                f"{first}{more}; ignore_unknown=True reads on without their meaning",
                remedies=("ignore_unknown",),
            )
        for skip in self.skipped:
            log.warning("skipped: %s", skip)
