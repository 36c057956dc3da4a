"""Nets with one data layer, databases to read, and what real Caffe read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffe_compat.caffe_pb2 import Datum
from caffe_compat.data import batches
from caffe_compat.data.database import create

from ..cases import GOLDEN

DATA = GOLDEN / "data"
IMAGES = DATA / "sources" / "images"


def recorded():
    """Name each recording: its prototxt, its folder of relative paths, its numbers."""
    cases = {
        path.stem: (path, DATA, path.with_suffix(".npz"))
        for path in sorted((DATA / "cases").glob("*.prototxt"))
    }
    for folder in sorted((DATA / "lmdb").iterdir()):
        cases[folder.name] = (folder / "net.prototxt", folder, folder / "out.npz")
    return cases


CASES = recorded()


def open_case(name, seed=None, **keywords):
    """Open a recording's net at the seed that Caffe had, and give what Caffe made of it."""
    prototxt, root, numbers = CASES[name]
    with np.load(numbers) as file:
        out = dict(file)
    if "arrays:data" in out:
        keywords["arrays"] = {"data": (out.pop("arrays:data"), out.pop("arrays:label"))}
    seed = int(out["seed"]) if seed is None else seed
    return batches(prototxt, phase=str(out["phase"]), seed=seed, root=root, **keywords), out


def batch_of(out, number):
    """Give what Caffe made in one of its forward passes."""
    return {
        key.partition(":")[2]: array for key, array in out.items() if key.startswith(f"{number}:")
    }


def pixels(count, shape=(3, 6, 7), seed=0):
    """Draw images of bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def datum(image, label=0, **fields):
    """Serialize a Datum of bytes, with some of its fields changed."""
    channels, height, width = image.shape
    known = {"channels": channels, "height": height, "width": width, "data": image.tobytes()}
    return Datum(**{**known, "label": label, **fields}).SerializeToString()


def database(path, values, backend="lmdb"):
    """Write values under the keys 00000000, 00000001, ..."""
    with create(path, backend) as writer:
        for i, value in enumerate(values):
            writer.put(b"%08d" % i, value)
    return path


def data_net(path, source, batch=2, transform="", backend="LMDB", more=""):
    """Write a net of one Data layer."""
    path = Path(path)
    path.write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label"\n'
        f"  transform_param {{ {transform} }}\n"
        f'  data_param {{ source: "{source}" batch_size: {batch} backend: {backend} {more} }} }}\n'
    )
    return path
