"""A net as a graph: its layers, blobs with shapes and in-place versions, shared parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from .caffe_pb2 import LayerParameter, NetParameter, ParamSpec
from .errors import ShapeError, UnsupportedError
from .layer import Blob, Layer, Shape, check_arity, find, named, registry

Dims: TypeAlias = tuple[int | None, ...]
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Value:
    """One version of a blob: a layer that works in place makes a new one of the same blob.

    Attributes:
        name: unique in the graph. The last writer has the blob's own name, earlier ones
            blob/layer; what the caller feeds always has its own.
        blob: Caffe's name.
        shape: the size that the net was built for.
        dims: the same with None on the axes that may vary from run to run.
    """

    name: str
    blob: str
    shape: Shape
    dims: Dims


@dataclass(frozen=True)
class Node:
    """A layer in its place.

    Attributes:
        layer: what it computes.
        bottoms: the values that it reads.
        tops: the values that it makes.
        blobs: its parameter blobs.
        owners: for each blob the (node, blob) that owns the data: itself unless shared.
        loss_weights: one for each top.
    """

    layer: Layer
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    blobs: tuple[Blob, ...]
    owners: tuple[Place, ...]
    loss_weights: tuple[float, ...]

    @property
    def inplace(self) -> bool:
        """Whether the first top overwrites the first bottom's blob."""
        return bool(self.tops and self.bottoms) and self.tops[0].blob == self.bottoms[0].blob


@dataclass(frozen=True)
class Graph:
    """The layers of a net in the order in which they run.

    Attributes:
        net: the message that it was built from.
        nodes: the layers.
        inputs: what the caller feeds.
        outputs: the blobs that no layer reads, sorted by name as Caffe does.
    """

    net: NetParameter
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def values(self) -> Iterator[Value]:
        """Every value, in the order in which it is made."""
        for node in self.nodes:
            yield from node.tops

    def blob(self, name: str) -> Value:
        """The last version of a blob.

        Raises:
            ShapeError: the net has no blob of that name.
        """
        found = [value for value in self.values if value.blob == name]
        if not found:
            raise ShapeError(f"the net has no blob '{name}'")
        return found[-1]


def build(net: NetParameter, inputs: Mapping[str, Sequence[int | None]] | None = None) -> Graph:
    """The graph of an upgraded net whose layers are already selected (Net::Init).

    Args:
        net: V2 layers only, each with its phase.
        inputs: shapes that override or supply those of the blobs that the caller feeds; None
            for an axis that may vary from run to run, at its own size here.

    Raises:
        UnsupportedError: every layer type that is unknown or refused, all at once.
        ShapeError: what Caffe's CHECKs refuse, with the layer's name.
    """
    given = {name: tuple(dims) for name, dims in (inputs or {}).items()}
    layers = _create(net.layer)
    graph = _connect(net, layers, given)
    unknown = set(given) - {value.blob for value in graph.inputs}
    if unknown:
        have = ", ".join(value.blob for value in graph.inputs) or "none"
        raise ShapeError(f"the net has no input '{sorted(unknown)[0]}'; its inputs: {have}")
    return _vary(graph, layers, given)


def _create(protos: Sequence[LayerParameter]) -> list[Layer]:
    types = registry()
    layers: list[Layer] = []
    refused: list[str] = []
    for proto in protos:
        cls = find(proto, types)
        if cls is None:
            refused.append(f"layer '{proto.name}' ({proto.type}): unknown layer type")
            continue
        try:
            with named(proto):
                layers.append(cls(proto))
        except UnsupportedError as error:
            refused.append(str(error))
    if refused:
        raise UnsupportedError("; ".join(refused))
    return layers


def _connect(
    net: NetParameter, layers: Sequence[Layer], inputs: Mapping[str, Dims], times: int = 1
) -> Graph:
    """Walk the layers in order, giving every top its shape.

    The sizes that only data decide (`Layer.varies`) are taken `times` what the layers state.
    """
    writers = Counter(top for layer in layers for top in layer.proto.top)
    current: dict[str, Value] = {}
    unread: set[str] = set()
    readers: Counter[str] = Counter()
    names: set[str] = set()
    shared: dict[str, Place] = {}
    nodes: list[Node] = []
    fed: list[Value] = []
    for layer in layers:
        with layer.named():
            bottoms = _bottoms(layer, current)
            for value in bottoms:
                unread.discard(value.blob)
                readers[value.name] += 1
            shapes = _shapes(layer, bottoms, inputs, times)
            feeds = layer.feeds()
            tops: list[Value] = []
            for i, (blob, shape) in enumerate(zip(_tops(layer), shapes, strict=True)):
                writers[blob] -= 1
                _check_top(layer, i, blob, current, readers)
                plain = i in feeds or (writers[blob] <= 0 and not _is_fed(blob, fed))
                name = _unique(blob if plain else f"{blob}/{layer.name}", names)
                tops.append(Value(name, blob, shape, shape))
                if i in feeds:
                    fed.append(tops[-1])
            for value in tops[: len(layer.proto.top)]:
                current[value.blob] = value
                unread.add(value.blob)
            bottom_shapes = [value.shape for value in bottoms]
            blobs = layer.blobs(*bottom_shapes)
            owners = _share(layer, len(nodes), blobs, shared, nodes)
            weights = _loss_weights(layer, len(tops))
            nodes.append(
                Node(layer, bottoms, tuple(tops), tuple(blobs), owners, weights)
            )
    outputs = tuple(current[blob] for blob in sorted(unread))
    return Graph(net, tuple(nodes), tuple(fed), outputs)


def _bottoms(layer: Layer, current: Mapping[str, Value]) -> tuple[Value, ...]:
    for i, blob in enumerate(layer.proto.bottom):
        if blob not in current:
            raise ShapeError(f"unknown bottom blob '{blob}' (bottom index {i})")
    check_arity("bottom", len(layer.proto.bottom), layer.bottoms)
    return tuple(current[blob] for blob in layer.proto.bottom)


def _tops(layer: Layer) -> list[str]:
    """The names of a layer's tops; a loss that the prototxt does not name gets one."""
    tops = list(layer.proto.top)
    if layer.loss and not tops:
        return [f"{layer.name}/loss"]
    check_arity("top", len(tops), layer.tops)
    return tops


def _shapes(
    layer: Layer, bottoms: Sequence[Value], inputs: Mapping[str, Dims], times: int
) -> list[Shape]:
    names = _tops(layer)
    stated = layer.shapes(*(value.shape for value in bottoms))
    shapes: list[Shape] = []
    if len(stated) != len(names):
        raise ShapeError(f"makes {len(stated)} top blob(s), and the prototxt names {len(names)}")
    for i, (blob, shape) in enumerate(zip(names, stated, strict=True)):
        if i in layer.feeds() and blob in inputs:
            shape = _override(blob, shape, inputs[blob])
        if shape is None:
            raise ShapeError(f"the shape of '{blob}' is not in the prototxt; give it as an input "
                             f"shape, as in --input {blob}=1x3x224x224")
        shape = tuple(n * times if axis in layer.varies else n for axis, n in enumerate(shape))
        if any(n < 0 for n in shape):
            raise ShapeError(f"'{blob}' would have the shape {shape}")
        shapes.append(shape)
    return shapes


def _override(blob: str, shape: Shape | None, dims: Dims) -> Shape:
    """The caller's shape for an input, with the prototxt's sizes where it says None."""
    if shape is not None and len(shape) == len(dims):
        return tuple(s if d is None else d for s, d in zip(shape, dims, strict=True))
    if None in dims:
        raise ShapeError(f"'{blob}': {dims} leaves sizes open that the prototxt does not give")
    return tuple(d for d in dims if d is not None)


def _check_top(
    layer: Layer,
    i: int,
    blob: str,
    current: Mapping[str, Value],
    readers: Counter[str],
) -> None:
    if blob not in current:
        return
    bottoms = layer.proto.bottom
    if i >= len(bottoms) or bottoms[i] != blob or readers[current[blob].name] > 1:
        raise ShapeError(f"top blob '{blob}' produced by multiple sources")
    if not layer.inplace:
        raise ShapeError(f"cannot run in place: its top is its own bottom '{blob}'")


def _is_fed(blob: str, fed: Sequence[Value]) -> bool:
    return any(value.blob == blob for value in fed)


def _unique(name: str, names: set[str]) -> str:
    unique, k = name, 1
    while unique in names:
        k += 1
        unique = f"{name}_{k}"
    names.add(unique)
    return unique


def _loss_weights(layer: Layer, tops: int) -> tuple[float, ...]:
    weights = tuple(layer.proto.loss_weight)
    if not weights:
        return (1.0 if layer.loss else 0.0,) + (0.0,) * (tops - 1) if tops else ()
    if len(weights) != tops:
        raise ShapeError(f"loss_weight is given {len(weights)} times for {tops} top blob(s)")
    return weights


def _share(
    layer: Layer,
    index: int,
    blobs: Sequence[Blob],
    shared: dict[str, Place],
    nodes: Sequence[Node],
) -> tuple[Place, ...]:
    """Who owns each parameter blob: the first layer that uses its ParamSpec's name."""
    specs = layer.proto.param
    if len(specs) > len(blobs):
        raise ShapeError(f"too many params: {len(specs)} for {len(blobs)} parameter blob(s)")
    owners: list[Place] = []
    for i, blob in enumerate(blobs):
        spec = specs[i] if i < len(specs) else ParamSpec()
        place = (index, i)
        if spec.name and spec.name in shared:
            place = shared[spec.name]
            owner = nodes[place[0]] if place[0] < index else None
            held = owner.blobs[place[1]].shape if owner else blobs[place[1]].shape
            _check_shared(spec, blob.shape, held, owner.layer.name if owner else layer.name)
        elif spec.name:
            shared[spec.name] = place
        owners.append(place)
    return tuple(owners)


def _check_shared(spec: ParamSpec, shape: Shape, held: Shape, owner: str) -> None:
    permissive = spec.share_mode == ParamSpec.PERMISSIVE
    if _count(shape) != _count(held) if permissive else shape != held:
        raise ShapeError(
            f"cannot share param '{spec.name}' owned by layer '{owner}': {held} there, {shape} here"
        )


def _count(shape: Shape) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def _vary(graph: Graph, layers: Sequence[Layer], inputs: Mapping[str, Dims]) -> Graph:
    """Mark the dimensions that vary with the open axes of the inputs, or with the data.

    They are found by walking the net again at other sizes: a dimension that never changes is
    fixed. Open axes of the same place and size vary together (a batch of several inputs).
    """
    shapes = {value.blob: value.shape for value in graph.inputs}
    open_axes = {
        (axis, shapes[blob][axis])
        for blob, dims in inputs.items()
        for axis, size in enumerate(dims)
        if size is None
    }
    varying: dict[str, set[int]] = {}
    for axis, size in sorted(open_axes):
        for probe, must in ((2 * size, True), (3 * size, True), (size + 1, False)):
            sizes = {
                blob: _probe(dims, shapes[blob], axis, size, probe)
                for blob, dims in inputs.items()
            }
            try:
                _compare(graph, _connect(graph.net, layers, sizes), varying)
            except ShapeError as error:
                if must:
                    raise ShapeError(f"axis {axis} of the input cannot vary: {error}") from error
    _vary_with_data(graph, layers, {blob: shapes[blob] for blob in inputs}, varying)
    return _mark(graph, varying) if varying else graph


def _vary_with_data(
    graph: Graph, layers: Sequence[Layer], sizes: Mapping[str, Dims], varying: dict[str, set[int]]
) -> None:
    """Add the dimensions that vary with what a layer finds in the data (Filter's rows)."""
    found = [node for node in graph.nodes if node.layer.varies]
    for node in found:
        for value in node.tops:
            varying.setdefault(value.name, set()).update(node.layer.varies)
    for times in (2, 3) if found else ():
        # A net may fit only if all rows are chosen; Caffe too finds that out when it runs.
        with suppress(ShapeError):
            _compare(graph, _connect(graph.net, layers, sizes, times), varying)


def _compare(graph: Graph, other: Graph, varying: dict[str, set[int]]) -> None:
    """Note the dimensions that are of another size in `other`."""
    for here, there in zip(graph.values, other.values, strict=True):
        changed = {i for i, n in enumerate(there.shape) if n != here.shape[i]}
        varying.setdefault(here.name, set()).update(changed)


def _probe(dims: Dims, shape: Shape, axis: int, size: int, probe: int) -> Dims:
    return tuple(
        probe if i == axis and d is None and shape[i] == size else shape[i]
        for i, d in enumerate(dims)
    )


def _mark(graph: Graph, varying: Mapping[str, set[int]]) -> Graph:
    def mark(value: Value) -> Value:
        axes = varying.get(value.name, set())
        dims = tuple(None if i in axes else n for i, n in enumerate(value.shape))
        return replace(value, dims=dims)

    nodes = tuple(
        replace(node, bottoms=tuple(map(mark, node.bottoms)), tops=tuple(map(mark, node.tops)))
        for node in graph.nodes
    )
    return Graph(graph.net, nodes, tuple(map(mark, graph.inputs)), tuple(map(mark, graph.outputs)))
