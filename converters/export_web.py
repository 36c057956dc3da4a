"""`caffe-compat export --web`: a net for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..images.web import export
from ..net.net import Net
from . import models, preprocessing
from .terminal import say, say_file

PORT = 8000


@dataclass(frozen=True)
class Options:
    """The page to write, and what is served of it."""

    web: Annotated[
        Path | None,
        typer.Option(
            "--web",
            metavar="DIR",
            help="The folder of a web page to write: an image is dropped, the net answers.",
        ),
    ] = None
    ort: Annotated[
        Path | None,
        typer.Option(
            "--ort",
            metavar="DIR",
            help="Copy onnxruntime-web from here (its dist/) beside the page, in place of a CDN.",
        ),
    ] = None
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on 127.0.0.1 until Ctrl-C.")
    ] = False
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="For --serve; 0: any.")
    ] = PORT

    def write(
        self,
        model: models.Model,
        prep: preprocessing.Options,
        title: str,
        labels: Sequence[str],
    ) -> None:
        """Write the page, and serve it if that is asked for."""
        if self.web is None:
            raise typer.BadParameter("names no folder", param_hint="--web")
        if self.port != PORT and not self.serve:
            raise typer.BadParameter("goes with --serve", param_hint="--port")
        loaded = model.load(batch=None if model.selection.input else 1)
        preprocess = prep.choose(loaded if isinstance(loaded, Net) else None, model.path)
        site = export(loaded, self.web, title, preprocess, labels=labels, ort=self.ort)
        for path in site.files:
            say_file(path)
        if self.serve:
            server = site.server(self.port)
            say(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends it)")
            with server, suppress(KeyboardInterrupt):
                server.serve_forever()
