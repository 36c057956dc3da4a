"""Pictures as the input of an examination."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..images import reader
from ..net.graph import Graph
from ..net.preprocess import Preprocess
from ..options import PathLike
from ..types import Array

MOST = 4  # pictures; more tell the same


def read_pictures(graph: Graph, place: PathLike, preprocess: Preprocess | None) -> Array:
    """Return pictures as the net's first input takes them, evenly picked from a folder.

    Args:
        graph: the net.
        place: an image, or a folder.
        preprocess: from a picture to the input; None: resized alone.

    Raises:
        ShapeError: the net has no input that takes a picture.
        ParseError: there is no image, or one cannot be read.
    """
    if not graph.inputs or len(graph.inputs[0].dims) != 4:
        raise ShapeError("the net has no first input of four axes to take pictures")
    dims = graph.inputs[0].dims
    paths = reader.find([place])
    chosen = paths[:: -(-len(paths) // MOST)] if len(paths) > MOST else paths
    way = preprocess or Preprocess()
    way.fits(dims)
    return np.stack([way(reader.read(path), dims) for path in chosen])
