"""The parts of a net that its torch module keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..net.graph import Graph
from ..net.sharing import Place
from ..types import Array, Shape
from ..weights.mapped import Mapped
from .names import NameMap
from .transform import Transform


class Files(list[Mapped]):
    """The files in which a module's parameters lie; a copy's and a pickle's lie in none."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Files:
        return Files()

    def __reduce__(self) -> tuple[type[Files], tuple[()]]:
        return Files, ()


@dataclass
class Origin:
    """The parts of a net that its module keeps.

    Attributes:
        graph: the net without its weights.
        names: Caffe's names and torch's.
        outputs: the blobs that it returns, and the weight of each in the loss.
        parts: the submodule that each layer is, by the layer's place in the graph.
        places: of each key of `state_dict()`, the layer's place in the graph and the blob's.
        others: the parameter blobs that the outputs do not need.
        files: see `Files`.
        shapes: the sizes of the inputs that the net was built for, by blob.
        preprocess: how a picture becomes the input.
    """

    graph: Graph
    names: NameMap
    outputs: Mapping[str, float]
    parts: Mapping[int, str]
    places: Mapping[str, Place]
    others: Mapping[Place, Array]
    files: Files
    shapes: Mapping[str, Shape]
    preprocess: Transform

    def __deepcopy__(self, memo: dict[int, Any]) -> Origin:
        return replace(self, files=Files())
