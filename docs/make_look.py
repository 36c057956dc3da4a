"""Write the pictures and the table of docs/look.md; run as `python docs/make_look.py`.

The picture of a page needs Chromium and is left as it is where there is none.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from caffe_compat.converters.show_net import show_costs

import caffe_compat
from caffe_compat import weights
from caffe_compat.images.tiles import write_png

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "look.md"
NETS = ROOT / "tests" / "golden"
ONET = ROOT / "examples" / "mtcnn" / "models" / "det3" / "weights.caffemodel"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1300,900",
)


def main() -> None:
    """Write the table, and the pictures into docs/pictures."""
    PAGE.write_text(page(), encoding="utf-8")
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    for path in draw(folder):
        sys.stdout.write(f"{path}\n")


def page() -> str:
    """Return the page's text with the table of costs as the command prints it."""
    text = PAGE.read_text(encoding="utf-8")
    begin = text.index("--costs\n") + len("--costs\n")
    net = caffe_compat.read(ROOT / "examples/mtcnn/models/det1/net.prototxt")
    table = "\n".join(line.rstrip() for line in show_costs(caffe_compat.costs(net)))
    return f"{text[:begin]}{table}\n{text[text.index('```', begin) :]}"


def draw(folder: Path) -> list[Path]:
    """Write the pictures into a folder, and return their paths."""
    stored = _weights(ONET)
    write_png(folder / "filters.png", caffe_compat.show_filters(stored["conv1"], "rgb"))
    slopes = [(name, array) for name, array in stored.items() if name.startswith("prelu")]
    write_png(folder / "slopes.png", caffe_compat.show_slopes(slopes))
    cifar = NETS / "models" / "cifar10_quick"
    net = caffe_compat.load(cifar / "net.prototxt", cifar / "weights.caffemodel.h5", batch=1)
    image = caffe_compat.read_image(ROOT / "examples" / "mtcnn" / "astronaut.png")
    prepare = caffe_compat.Preprocess(mean=(125.3,))
    blobs = net.forward({"data": prepare(image, net.blobs["data"].dims)[None]})
    write_png(folder / "maps.png", caffe_compat.show_maps(blobs["conv1"][0]))
    best = int(blobs["prob"].argmax())
    explanation = caffe_compat.explain(net, image, best, prepare)
    write_png(folder / "heat.png", caffe_compat.draw_heat(image, explanation))
    paths = [folder / f"{name}.png" for name in ("filters", "slopes", "maps", "heat")]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    return [*paths, _shoot(chromium, folder / "googlenet.png")] if chromium else paths


def _weights(path: Path) -> dict[str, caffe_compat.Array]:
    """Return the first blob of each layer of a weights file."""
    return {layer.name: layer.blobs[0].array for layer in weights.read(path).layers if layer.blobs}


def _shoot(chromium: str, target: Path) -> Path:
    """Write a picture of GoogLeNet's page in a browser."""
    net = NETS / "nets" / "BVLC_caffe_models_bvlc_googlenet_deploy" / "net.prototxt"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "net.html"
        page.write_text(caffe_compat.net_page(caffe_compat.read(net)), encoding="utf-8")
        subprocess.run(
            [
                *(chromium, *FLAGS, f"--user-data-dir={folder}/profile"),
                *(f"--screenshot={target}", f"file://{page}#inception_3a/3x3"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    return target


if __name__ == "__main__":
    main()
