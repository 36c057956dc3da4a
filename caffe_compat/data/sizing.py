"""The shapes of what a net's data layers read."""

from __future__ import annotations

from dataclasses import replace

from ..caffe_pb2 import NetParameter
from ..types import Shape
from .iterator import Batches
from .source import Access
from .streams import CRand
from .words import zero_words


def shapes_of(net: NetParameter, access: Access) -> dict[str, Shape]:
    """Return the shapes of a net's tops, of the layers that read."""
    words = zero_words(net)
    with Batches(net, replace(access, rank=0, ranks=1, rand=CRand()), words, workers=1) as opened:
        return opened.shapes
