"""The kinds of files that the package reads: examples, and a reading of everything in them."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from caffe_compat.converters import show_files
from google.protobuf import text_format
from PIL import Image

from caffe_compat import data, npy, packed, pipeline, weights
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.data import database, datum
from caffe_compat.data import images as data_images
from caffe_compat.fillers.rng import make_rng
from caffe_compat.images import decode, reader
from caffe_compat.net.params import fill
from caffe_compat.net.preprocess import mean_array
from caffe_compat.net.summary import summarize
from caffe_compat.onnx.costs import costs
from caffe_compat.options import Onnx
from caffe_compat.training import curves, parameters
from caffe_compat.weights import solverstate

GOLDEN = Path(__file__).parents[1] / "golden"
_LARGEST = 100_000  # bytes of an example


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: the file's name.
        examples: the contents of sound files.
        read: reads such a file, and all that it leads to.
    """

    name: str
    examples: Callable[[], list[bytes]]
    read: Callable[[Path], object]


def _golden(*patterns: str, most: int = 120) -> Callable[[], list[bytes]]:
    def examples() -> list[bytes]:
        paths = sorted(path for pattern in patterns for path in GOLDEN.glob(pattern))
        small = [path for path in paths if 0 < path.stat().st_size <= _LARGEST]
        return [path.read_bytes() for path in small[:: -(-len(small) // most)]]

    return examples


def _read_net(path: Path) -> None:
    for phase in ("TEST", "TRAIN"):
        graph = pipeline.read(path, phase=phase)
        summarize(graph)
        total = costs(graph)
        blobs = sum(math.prod(value.shape) for value in graph.values)
        if max(blobs, total.total("parameters")) > 1 << 18 or total.total("operations") > 1 << 22:
            continue
        if total.total("multiply_adds") > 1 << 22:
            continue
        net = fill(graph, make_rng("fast", 1))
        net.forward({value.blob: np.ones(value.shape, np.float32) for value in graph.inputs})
        if phase == "TEST":
            packed.lower_net(net, Onnx())


def _read_weights(path: Path) -> None:
    opened = weights.read(path)
    for layer in opened.layers:
        for blob in layer.blobs:
            np.isnan(blob.array).any()
    targets = [(layer.name, [("b", b.array.shape) for b in layer.blobs]) for layer in opened.layers]
    weights.match(opened, targets)


def _read_sets(path: Path) -> None:
    for name in ("data", "label"):
        np.isnan(weights.read_datasets(path, [name])[name]).any()


def _read_list(layer: str) -> Callable[[Path], object]:
    """Return a reading of what a data layer reads; its files are those of tests/golden/data."""

    def read(path: Path) -> None:
        net = NetParameter()
        text_format.Parse(layer.replace("LIST", str(path)), net)
        with data.batches(net, root=GOLDEN / "data", workers=1) as batches:
            next(batches)

    return read


def _read_database(path: Path) -> None:
    for key, value in database.records(path.parent):
        name = datum.name_of(path, key)
        datum.read(datum.parse(bytes(value), name), name)


def _pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (9, 7, 3), np.uint8)
    forms = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "ICO")
    pictures = []
    for form in forms:
        for mode in ("RGB", "L", "P", "1", "I;16", "RGBA", "CMYK"):
            file = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode.partition(";")[0]).save(file, form)
            except (OSError, ValueError, KeyError):
                continue
            pictures.append(file.getvalue())
    return pictures


def _read_data_picture(path: Path) -> None:
    data_images.decode(path.read_bytes(), path.name)


def _arrays() -> list[bytes]:
    kinds: tuple[Any, ...] = ("<f4", ">f8", "u1", "<i8", "?", "<f2")
    arrays = [np.ones((2, 3, 4), kind) for kind in kinds] + [np.asfortranarray(np.ones((3, 2)))]
    stored = []
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        stored.append(file.getvalue())
    return stored


def _onnx_models() -> list[bytes]:
    nets = sorted(GOLDEN.glob("layers/*/net.prototxt"))[::25]
    models = []
    with tempfile.TemporaryDirectory() as folder:
        for net in nets:
            pipeline.to_onnx(pipeline.load(net), Path(folder) / "a.onnx")
            models.append((Path(folder) / "a.onnx").read_bytes())
    return models


_protobufs = _golden("**/*.binaryproto", "**/*.solverstate*", "**/*.caffemodel", "**/data.h5")


def _archives() -> list[bytes]:
    archives = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **{"conv/0": np.ones((2, 3), np.float32), "conv/1": np.zeros(2)})
        archives.append(file.getvalue())
    return archives


def _show(path: Path) -> None:
    kind = show_files.kind_of(path)
    if kind is show_files.Kind.WEIGHTS:
        _read_weights(path)
    elif kind is not show_files.Kind.NET:
        list(show_files.show_file(path, kind))


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


KINDS = {
    "net": Kind(
        "net.prototxt",
        _golden("layers*/*/net.prototxt", "upgrade/**/*.prototxt", "reports/**/*.prototxt"),
        _read_net,
    ),
    "solver": Kind("solver.prototxt", _golden("train*/*/solver.prototxt"), parameters.read),
    "caffemodel": Kind("w.caffemodel", _golden("**/*.caffemodel"), _read_weights),
    "hdf5": Kind("w.h5", _golden("**/*.caffemodel.h5"), _read_weights),
    "hdf5_data": Kind("data.h5", _golden("train/*/data.h5", "data/sources/*.h5"), _read_sets),
    "solverstate": Kind("a.solverstate", _golden("**/*.solverstate"), solverstate.read),
    "solverstate_hdf5": Kind("a.solverstate.h5", _golden("**/*.solverstate.h5"), solverstate.read),
    "mean": Kind("mean.binaryproto", _golden("**/*.binaryproto"), mean_array),
    "npy": Kind("a.npy", _arrays, npy.read_array),
    "picture": Kind("a.png", _pictures, reader.read),
    "data_picture": Kind("a.png", _pictures, _read_data_picture),
    "lmdb": Kind("data.mdb", _golden("data/lmdb/*/db/data.mdb"), _read_database),
    "image_list": Kind(
        "list.txt",
        _golden("data/sources/list.txt", "data/sources/same.txt"),
        _read_list(
            'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param '
            '{ source: "LIST" batch_size: 2 root_folder: "sources/" new_height: 6 new_width: 5 } }'
        ),
    ),
    "window_file": Kind(
        "windows.txt",
        _golden("data/sources/windows.txt"),
        _read_list(
            'layer { name: "d" type: "WindowData" top: "data" top: "label" transform_param '
            '{ crop_size: 9 } window_data_param { source: "LIST" batch_size: 4 } }'
        ),
    ),
    "hdf5_list": Kind(
        "h5.txt",
        _golden("data/sources/h5.txt"),
        _read_list(
            'layer { name: "d" type: "HDF5Data" top: "data" hdf5_data_param '
            '{ source: "LIST" batch_size: 2 } }'
        ),
    ),
    "labels": Kind("labels.txt", _texts("cat\ndog\n", "n01440764 tench\n"), decode.read_labels),
    "log": Kind("train.log", _golden("train_logs/*/*.log"), curves.read),
    "onnx": Kind("a.onnx", _onnx_models, _show),
    "npz": Kind("w.npz", _archives, _read_weights),
    "any": Kind("file", lambda: [*_onnx_models(), *_arrays(), *_protobufs()], _show),
}
