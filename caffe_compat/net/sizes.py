"""The sizes that blobs may have, and those that the caller chooses for the inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from ..errors import ShapeError
from ..types import Dims, Shape

Batch: TypeAlias = int | Literal["dynamic"] | None

_SIDE = 224  # height and width of an input whose size is open and is not in the prototxt
_MAX_AXES, _MAX_VALUES = 32, 2**31 - 1  # blob.hpp: kMaxBlobAxes, and INT_MAX in Reshape


def check_size(blob: str, shape: Shape) -> None:
    """Refuse what Blob::Reshape refuses, and a blob of no values, whose data Caffe cannot read.

    Raises:
        ShapeError: an axis is below 1, or the axes or the values are too many.
    """
    if any(n < 1 for n in shape):
        raise ShapeError(f"'{blob}' would have the shape {shape}; every axis needs at least 1")
    if len(shape) > _MAX_AXES or math.prod(shape) > _MAX_VALUES:
        raise ShapeError(
            f"'{blob}' would have the shape {shape}; a blob has at most {_MAX_AXES} "
            f"axes and {_MAX_VALUES} values"
        )


def follow_batch(
    tops: Sequence[str], shapes: Sequence[Shape | None], inputs: Mapping[str, Dims]
) -> dict[str, Dims]:
    """Return the shapes of a data layer's tops after the caller has changed its batch.

    Args:
        tops: the layer's tops, whose first axes are all the batch.
        shapes: what the prototxt gives for each.
        inputs: what the caller gives for some of them.

    Returns:
        The shapes of the tops that the caller gives nothing for, where they are known.
    """
    sizes = [inputs[top][0] for top in tops if inputs.get(top)]
    return {
        top: (sizes[0], *shape[1:])
        for top, shape in zip(tops, shapes, strict=True)
        if sizes and shape and top not in inputs
    }


def input_sizes(
    blob: str, shape: Shape | None, dims: Dims | None, batch: Batch, *, has_source: bool = False
) -> tuple[Shape, Dims]:
    """Return an input's shape, and the same with None on its open axes.

    Args:
        blob: the input's name.
        shape: what the prototxt gives; None where it gives nothing.
        dims: what the caller gives instead, None on an open axis; None: nothing.
        batch: the size of the first axis over both, `dynamic` for an open one.
        has_source: whether the prototxt names a file or a database that has the shape.

    Raises:
        ShapeError: neither gives a shape, or an open axis has no size to be built at.
    """
    if dims is not None:
        shape = _override(blob, shape, dims)
    elif shape is None:
        raise ShapeError(
            f"the shape of '{blob}' is not in the prototxt; give it as an input shape, as in "
            f'inputs={{"{blob}": (1, 3, 224, 224)}}'
            + ", or take the source's own: inputs=data.shapes(prototxt)"
            * has_source,
            remedies=("inputs", "data") if has_source else ("inputs",),
            changes=[{"inputs": {blob: None}}],
        )
    else:
        dims = shape
    if batch is None or not shape:
        return shape, dims
    first = shape[0] if batch == "dynamic" else batch
    return (first, *shape[1:]), (None if batch == "dynamic" else batch, *dims[1:])


def _override(blob: str, shape: Shape | None, dims: Dims) -> Shape:
    """Return the caller's shape for an input, with the prototxt's sizes on its open axes.

    If the prototxt gives none, it is built for one image of 224 by 224.
    """
    if shape is not None and len(shape) == len(dims):
        return tuple(s if d is None else d for s, d in zip(shape, dims, strict=True))
    sizes = tuple(
        (1 if axis == 0 else _SIDE if axis > 1 else d) if d is None and shape is None else d
        for axis, d in enumerate(dims)
    )
    if None in sizes:
        raise ShapeError(f"'{blob}': {dims} leaves sizes open that the prototxt does not give")
    return tuple(d for d in sizes if d is not None)
