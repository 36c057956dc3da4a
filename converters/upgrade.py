"""`caffe-compat upgrade`: a prototxt of any era in Caffe's current form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..pipeline import upgrade
from . import options


def command(
    net: options.Prototxt,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.prototxt", help="The file to write.")
    ],
) -> None:
    """Rewrite a prototxt of any era in Caffe's current form."""
    upgrade(net, output)
