"""Reads nets from files and buffers, under OpenCV's names."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import pipeline
from ..caffe_pb2 import NetParameter
from ..errors import CaffeCompatError
from ..net.net import Net as Weighted
from ..prototxt.reader import read_net
from ..types import Shape
from .net import Net

_FORK = "Proposal=pvanet"  # the one definition that OpenCV has

Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]


def readNetFromCaffe(
    prototxt: str | Path | Buffer,
    caffeModel: str | Path | Buffer = "",
    *,
    fork: str | None = None,
) -> Net:
    """Read a net from a prototxt and a caffemodel, each a file or a buffer.

    Args:
        prototxt: the net; a str is always a file's name.
        caffeModel: its weights; empty: the prototxt's fillers draw them.
        fork: whose layers, for types that forks of Caffe define differently under one name;
            None: OpenCV's Proposal, which is PVANET's.

    Raises:
        CaffeCompatError: as for `caffe_compat.load`.
    """
    with_weights = not isinstance(caffeModel, str) or caffeModel != ""
    source = caffeModel if with_weights else None
    with tempfile.TemporaryDirectory("caffe_compat", ignore_cleanup_errors=True) as folder:
        net, _ = read_net(_file(prototxt, folder, "net.prototxt"))
    shapeless = len(net.input) > len(net.input_shape) + len(net.input_dim) // 4
    load = partial(_load, prototxt, source, fork or _FORK)
    return Net(load, _first_input(net), shapeless=shapeless)


def _first_input(net: NetParameter) -> str:
    inputs = [*net.input, *(layer.top[0] for layer in net.layer if not layer.bottom and layer.top)]
    return inputs[0] if inputs else ""


def _load(
    prototxt: str | Path | Buffer,
    weights: str | Path | Buffer | None,
    fork: str,
    inputs: Mapping[str, Shape],
) -> Weighted:
    # The files stay open, and need their names no longer; Windows then cannot delete them.
    with tempfile.TemporaryDirectory("caffe_compat", ignore_cleanup_errors=True) as folder:
        net = _file(prototxt, folder, "net.prototxt")
        stored = None if weights is None else _file(weights, folder, "net.caffemodel")
        return pipeline.load(net, stored, inputs=inputs, fork=fork)


def readNet(model: str | Path, config: str | Path = "", framework: str = "") -> Net:
    """Read a net from a caffemodel and a prototxt, in any order.

    Raises:
        CaffeCompatError: they are another framework's, or cannot be read.
    """
    names = [str(name) for name in (model, config) if str(name)]
    text = [name for name in names if name.endswith((".prototxt", ".pbtxt"))]
    if len(text) != 1 or framework.lower() not in ("", "caffe"):
        raise CaffeCompatError(
            f"{', '.join(names)}: readNet reads a .prototxt and its .caffemodel "
            "here; for others use cv2.dnn.readNet"
        )
    return readNetFromCaffe(text[0], *(name for name in names if name not in text))


def _file(source: str | Path | Buffer, folder: str, name: str) -> Path:
    if isinstance(source, str | Path):
        return Path(source)
    path = Path(folder, name)
    path.write_bytes(np.frombuffer(source, np.uint8).tobytes())
    return path
