"""Write a web page on which a net answers for a picture, in the browser alone.

The page is static: any web server serves it. The net runs by onnxruntime-web, on WebGPU or, where a
browser has none, on WebAssembly.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CaffeCompatError, UnsupportedError
from ..files import atomic, make_folder
from ..net.net import Net
from ..net.preprocess import Preprocess
from ..onnx import writer
from ..options import Onnx
from ..packed import lower_net
from ..runtime.models import to_bytes
from ..runtime.session import Session
from .decode import check_labels, count_classes

VERSION = "1.30.0"
"""Of onnxruntime-web."""

_CDN = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist/"
# Its files, with the digests that the browser checks.
ORT = {
    "ort.webgpu.bundle.min.mjs": (
        "sha384-1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR"
    ),
}
_SCRIPT, _WASM = ORT
_PAGE = ("index.html", "app.js", "preprocess.js")
_ONNX = Onnx(target="webgpu")


@dataclass(frozen=True)
class Site:
    """The files of a page.

    Attributes:
        folder: the folder to serve.
        files: all of them, index.html first.
    """

    folder: Path
    files: tuple[Path, ...]

    def server(self, port: int = 0) -> ThreadingHTTPServer:
        """Return a web server of the folder on 127.0.0.1, for this machine alone.

        Args:
            port: 0 takes a free one.
        """
        handler = partial(_Handler, directory=str(self.folder))
        return ThreadingHTTPServer(("127.0.0.1", port), handler)


def export(
    model: Net | str | Path,
    folder: str | Path,
    title: str,
    preprocess: Preprocess | None = None,
    *,
    labels: Sequence[str] = (),
    ort: str | Path | None = None,
    onnx: Onnx = _ONNX,
) -> Site:
    """Write a page for a net that takes one picture.

    Args:
        model: a net, or an ONNX file, which is copied with its weights inside.
        folder: the page's folder; other files in it stay.
        title: the page's title.
        preprocess: the steps from a picture to the net's input.
        labels: the classes' names.
        ort: a folder with onnxruntime-web's files, to copy beside the page; None: the page loads
            them from a CDN, and the browser checks their digests.
        onnx: how a net becomes an ONNX file.

    Raises:
        UnsupportedError: the net has other inputs than one float32 image.
        ShapeError: there are fewer labels than classes.
        CaffeCompatError: `ort` lacks a file.
    """
    content = lower_net(model, onnx) if isinstance(model, Net) else to_bytes(model)
    settings = _settings(Session(content, "cpu"), preprocess or Preprocess(), labels)
    # Nothing is written before everything is known to be right.
    script, settings["wasm"], copied = add_runtime(Path(folder), ort)
    folder = make_folder(folder)
    if isinstance(content, bytes):
        with atomic(folder / "model.onnx") as place:
            place.write_bytes(content)
    else:
        writer.save(content, folder / "model.onnx", "inline")
    texts = {name: files(__package__).joinpath("page", name).read_text("utf-8") for name in _PAGE}
    page = texts["index.html"].replace("@TITLE@", html.escape(title))
    texts["index.html"] = page.replace("@IMPORTMAP@", json.dumps(script))
    texts["model.json"] = json.dumps(settings, ensure_ascii=False)
    for name, text in texts.items():
        with atomic(folder / name) as place:
            place.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return Site(folder, (*(folder / name for name in texts), folder / "model.onnx", *copied))


def add_runtime(
    folder: Path, ort: str | Path | None
) -> tuple[dict[str, Any], dict[str, str], list[Path]]:
    """Return a page's import map, its WebAssembly's address and digest, and the files copied.

    Args:
        folder: the page's folder.
        ort: a folder with onnxruntime-web's files, to copy beside the page; None: the CDN's.

    Raises:
        CaffeCompatError: `ort` lacks a file.
    """
    if ort is not None:
        sources, beside = _ort_files(Path(ort)), make_folder(folder / "ort")
        copied = [_copy(source, beside) for source in sources]
        wasm = {"url": f"./ort/{_WASM}", "integrity": ""}
        return {"imports": {"ort": f"./ort/{_SCRIPT}"}}, wasm, copied
    script, wasm = _CDN + _SCRIPT, {"url": _CDN + _WASM, "integrity": ORT[_WASM]}
    return {"imports": {"ort": script}, "integrity": {script: ORT[_SCRIPT]}}, wasm, []


def _settings(session: Session, steps: Preprocess, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the page must know of the net."""
    inputs = list(session.inputs.items())
    if len(inputs) != 1 or session.dtypes[inputs[0][0]] is not np.float32:
        names = ", ".join(f"{name} {np.dtype(session.dtypes[name])}" for name, _ in inputs)
        raise UnsupportedError(
            f"a page gives its net one picture in float32, and this net takes {names}"
        )
    name, dims = inputs[0]
    channels, net = steps.fits(dims)
    for blob, shape in session.outputs.items():
        check_labels(labels, blob, count_classes(shape))
    return {
        "input": name,
        "channels": channels,
        "net": net,
        "resize": steps.resize,
        "crop": steps.crop,
        "order": steps.order,
        "rawScale": steps.raw_scale,
        "mean": _mean(steps, channels, net),
        "scale": steps.scale,
        "transposed": steps.transposed,
        "labels": list(labels),
    }


def _mean(steps: Preprocess, channels: int, net: tuple[int | None, int | None]) -> list[float]:
    mean = np.asarray(steps.mean, np.float32)
    if mean.ndim == 1:
        return [float(value) for value in mean]
    after = steps.crop or net
    if after[0] is None or after[1] is None:
        raise UnsupportedError(
            "a mean image is for a net of one size; give the inputs fixed shapes",
            remedies=("inputs",),
        )
    size = (after[0], after[1])
    array = steps.mean_for(channels, steps.resize or size, size)
    return [] if array is None else [float(value) for value in array.ravel()]


def _ort_files(folder: Path) -> list[Path]:
    """Return the files of onnxruntime-web in its folder."""
    for name in ORT:
        if not (folder / name).is_file():
            raise CaffeCompatError(
                f"{folder}: has no {name}; it is in dist/ of onnxruntime-web {VERSION}"
            )
    return [folder / name for name in ORT]


def _copy(file: Path, folder: Path) -> Path:
    with atomic(folder / file.name) as place:
        place.write_bytes(file.read_bytes())
    return folder / file.name


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the types that browsers insist on, and without a log."""

    extensions_map = {  # noqa: RUF012  # as the base has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
