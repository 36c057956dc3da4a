"""`caffe-compat upgrade`: a prototxt of any era in Caffe's current form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..upgrading import rewrite
from . import options


def command(
    net: options.Prototxt,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.prototxt", help="The file to write.")
    ],
    selection: options.Selection,
) -> None:
    """Rewrite a prototxt of any era in Caffe's current form.

    All phases are written, unless an option selects or cuts.
    """
    rewrite(net, output, selection.reading())
