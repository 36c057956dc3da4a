"""The way from a prototxt of any era to one in Caffe's current form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import ParseError, in_file
from .files import check_outputs
from .net import saving
from .options import Inputs, PathLike, Phase, Reading
from .packed import read_graph
from .prototxt import reader, writer
from .prototxt.upgrade import upgrade as upgrade_net


def upgrade(
    prototxt: PathLike,
    path: PathLike,
    *,
    phase: Phase = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Inputs | None = None,
    ignore_unknown: Sequence[str] = (),
    fork: str | None = None,
    until: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    deploy: bool = False,
) -> None:
    """Rewrite a prototxt of any era in Caffe's current form.

    All its phases are written, unless an argument selects or cuts: then the layers of the phase
    are, and every Input has its shape.

    Args:
        prototxt: the file.
        path: the file to write.
        phase: as for `read`, like all that follow.
        level: NetState's level.
        stages: NetState's stages.
        inputs: shapes that override or supply the inputs'.
        ignore_unknown: the unknown fields to do without, by name.
        fork: whose layers.
        until: the blobs to cut the net at.
        leave_out: layers to take out.
        deploy: turn a training net into its deploy form.

    Raises:
        ParseError: the prototxt has unknown fields, which would be lost.
        CaffeCompatError: the file cannot be written; or as for `read`.
    """
    reading = Reading(
        phase, level, stages, inputs or {}, None, ignore_unknown, fork, until, leave_out, deploy
    )
    rewrite(prototxt, path, reading)


def rewrite(prototxt: PathLike, path: PathLike, reading: Reading) -> None:
    """Do as `upgrade`, with the options of reading packed."""
    check_outputs([path], [prototxt])
    if reading != Reading():
        graph = read_graph(prototxt, None, reading)
        writer.write_text(saving.with_shapes(graph), path)
        return
    message, skipped = reader.read_net(prototxt)
    if skipped:
        raise ParseError(f"{skipped[0]}; nothing is written, since it would be lost")
    with in_file(prototxt):
        current = upgrade_net(message)
    writer.write_text(current, path)
