"""Parameter blobs that several layers share by the name in their ParamSpec (Net::AppendParam)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..caffe_pb2 import ParamSpec
from ..errors import ShapeError
from ..layers.layer import Blob, Layer
from ..types import Shape

Place: TypeAlias = tuple[int, int]


@dataclass
class _Owner:
    """The owner of a named blob, and the rates that its users have agreed on so far."""

    place: Place
    layer: str
    shape: Shape
    rates: dict[str, float]


class Sharing:
    """The owners of a net's parameter blobs, found layer by layer."""

    def __init__(self) -> None:
        self._named: dict[str, _Owner] = {}

    def owners(self, layer: Layer, index: int, blobs: Sequence[Blob]) -> tuple[Place, ...]:
        """Return the (layer, blob) that owns the data of each blob of a layer.

        The first user of a name owns the data; a blob without a name owns its own.

        Args:
            layer: the layer.
            index: its index in the net.
            blobs: its parameter blobs.

        Raises:
            ShapeError: more ParamSpecs than blobs; a shared blob of another shape (PERMISSIVE:
                of another count); users that ask for different lr_mult or decay_mult.
        """
        specs = layer.proto.param
        if len(specs) > len(blobs):
            raise ShapeError(f"too many params: {len(specs)} for {len(blobs)} parameter blob(s)")
        places = [(index, i) for i in range(len(blobs))]
        for i, (spec, blob) in enumerate(zip(specs, blobs, strict=False)):
            if not spec.name:
                continue
            first = _Owner((index, i), layer.name, blob.shape, {})
            owner = self._named.setdefault(spec.name, first)
            _check_shape(spec, blob.shape, owner)
            _agree(spec, owner)
            places[i] = owner.place
        return tuple(places)


def _check_shape(spec: ParamSpec, shape: Shape, owner: _Owner) -> None:
    if spec.share_mode == ParamSpec.PERMISSIVE:
        fits, what = math.prod(shape) == math.prod(owner.shape), "count"
    else:
        fits, what = shape == owner.shape, "shape"
    if not fits:
        raise ShapeError(
            f"cannot share param '{spec.name}' owned by layer '{owner.layer}'; {what} mismatch: "
            f"{owner.shape} there, {shape} here"
        )


def _agree(spec: ParamSpec, owner: _Owner) -> None:
    for field in ("lr_mult", "decay_mult"):
        if spec.HasField(field):
            value = getattr(spec, field)
            agreed = owner.rates.setdefault(field, value)
            if value != agreed:
                raise ShapeError(
                    f"shared param '{spec.name}' has mismatched {field}: {agreed:g} in another "
                    f"layer, {value:g} here"
                )
