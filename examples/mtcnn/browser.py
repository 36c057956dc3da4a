"""Detect faces in the browser: a page with MTCNN's three nets, on WebGPU or WebAssembly.

    python examples/mtcnn/browser.py [DIR] [--ort DIR] [--port N]

The script writes the page into DIR, by default `faces`, and serves it on 127.0.0.1 until Ctrl-C.
The page's detect.js is detect.py in JavaScript. onnxruntime-web comes from a CDN, or with --ort
from its npm package's dist/.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path

import caffe_compat
from caffe_compat.images import web

HERE = Path(__file__).parent
SHAPES = {
    "det1": (1, 3, None, None),
    "det2": (None, 3, 24, 24),
    "det3": (None, 3, 48, 48),
}


def write(folder: Path, ort: Path | None = None) -> web.Site:
    """Write the page and the three nets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        net = caffe_compat.load(
            HERE / "models" / name / "net.prototxt",
            HERE / "models" / name / "weights.caffemodel",
            inputs={"data": shape},
        )
        caffe_compat.to_onnx(net, folder / f"{name}.onnx", target="webgpu")
    script, wasm, _ = web.add_runtime(folder, ort)
    for source in sorted((HERE / "page").iterdir()):
        text = source.read_text(encoding="utf-8")
        text = text.replace("@IMPORTMAP@", json.dumps(script)).replace("@WASM@", json.dumps(wasm))
        (folder / source.name).write_text(text, encoding="utf-8")
    return web.Site(folder, tuple(sorted(folder.iterdir())))


def main() -> None:
    """Write the page and serve it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="faces", type=Path)
    parser.add_argument("--ort", type=Path, help="onnxruntime-web's dist/, in place of a CDN")
    parser.add_argument("--port", default=8000, type=int)
    options = parser.parse_args()
    server = write(options.folder, options.ort).server(options.port)
    print(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends it)", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
