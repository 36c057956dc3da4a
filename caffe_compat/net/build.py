"""Build a graph from the layers of a prototxt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..caffe_pb2 import NetParameter
from ..errors import ShapeError, UnsupportedError
from ..layers.arity import check_arity
from ..layers.families.indexing import Crop
from ..layers.layer import Find, Layer
from ..layers.names import Names
from ..types import Dims, Shape
from .aliasing import check_aliases
from .alignment import align
from .creation import Creator
from .graph import Graph, Node, Value
from .sharing import Sharing
from .sizes import Batch, check_size, follow_batch, input_sizes
from .varying import Varying


def build(
    net: NetParameter,
    inputs: Mapping[str, Sequence[int | None]] | None = None,
    fork: str | None = None,
    stored: Mapping[str, Sequence[Shape]] | None = None,
) -> Graph:
    """Build the graph of a net whose layers are upgraded and selected (Net::Init).

    Args:
        net: V2 layers only, each with its phase.
        inputs: shapes by input that override or supply the prototxt's; None on an axis that may
            vary from run to run, and is built at the prototxt's size.
        fork: whose layers, for types that forks of Caffe define differently under one name: a
            name for all layers, or by type or layer, as `Crop=fcn,Proposal=pvanet`.
        stored: the shapes of the blobs in the weights file by layer name, which tell some of
            these types apart; None where there is no file.

    Raises:
        UnsupportedError: every layer type that is unknown or refused, all at once; or the fork is
            unknown.
        ShapeError: what Caffe's CHECKs refuse, with the layer's name.
    """
    return connect(net, create(net, fork, stored), inputs)


def create(
    net: NetParameter,
    fork: str | None = None,
    stored: Mapping[str, Sequence[Shape]] | None = None,
    find: Find | None = None,
) -> list[Layer]:
    """Create a net's layers, each by itself; the arguments are those of `build`.

    With `find`, which looks up the files that layers name, these are read.

    Raises:
        UnsupportedError: every layer type that is unknown or refused, all at once; or the fork is
            unknown.
        CaffeCompatError: a file is missing or damaged.
    """
    layers = Creator(fork, stored, net).create_all(net)
    if find is not None:
        read_files(layers, find)
    return layers


def read_files(layers: Iterable[Layer], find: Find) -> None:
    """Let layers read the files that they name.

    Raises:
        CaffeCompatError: a file is missing or damaged; with the layer's name.
    """
    for layer in layers:
        with layer.named():
            layer.read(find)


def connect(
    net: NetParameter,
    layers: Sequence[Layer],
    inputs: Mapping[str, Sequence[int | None]] | None = None,
    batch: Batch = None,
) -> Graph:
    """Connect a net's layers to a graph.

    Args:
        net: as for `build`.
        layers: the net's layers, in order.
        inputs: as for `build`.
        batch: the size of every input's first axis, `dynamic` for an open one; None: the
            prototxt's.

    Raises:
        ShapeError: what Caffe's CHECKs refuse, with the layer's name.
        UnsupportedError: Caffe would overwrite a blob that is read later.
    """
    sizes = {name: tuple(dims) for name, dims in (inputs or {}).items()}
    walk = _Walk(layers, sizes, batch)
    graph = Graph(net, tuple(walk.nodes), tuple(walk.fed), walk.outputs)
    check_aliases(graph.nodes, graph.outputs)
    unknown = set(sizes) - {value.blob for value in graph.inputs}
    if unknown:
        have = ", ".join(value.blob for value in graph.inputs) or "none"
        raise ShapeError(f"the net has no input '{sorted(unknown)[0]}'; its inputs: {have}")
    return walk.varying.mark(graph)


class _Walk:
    """One walk over the layers in order, which gives every top its name and its shape.

    Args:
        layers: the layers.
        inputs: the caller's shapes for some of the inputs.
        batch: the size of the inputs' first axis.
    """

    def __init__(self, layers: Sequence[Layer], inputs: Mapping[str, Dims], batch: Batch) -> None:
        self.nodes: list[Node] = []
        self.fed: list[Value] = []
        self.varying = Varying()
        self._inputs, self._batch = inputs, batch
        self._current: dict[str, Value] = {}  # the last version so far, by blob
        self._readers: Counter[str] = Counter()
        self._losses: set[str] = set()  # values with a loss weight of their own
        self._writers = Counter(top for layer in layers for top in layer.proto.top)
        self._names = Names()
        self._sharing = Sharing()
        for layer in layers:
            with layer.named():
                node = self._try(layer)
            self.nodes.append(node)
            self.varying.follow(node, self._fixed(node))

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The blobs that no layer reads, sorted by name as Caffe does."""
        last = sorted(self._current.items())
        return tuple(value for _, value in last if not self._readers[value.name])

    def _fixed(self, node: Node) -> set[str]:
        """Return the names of the tops whose shapes do not follow from the bottoms'."""
        fed = [node.tops[i] for i in node.layer.feeds()]
        return {top.name for top in fed if top.blob in self._inputs}

    def _try(self, layer: Layer) -> Node:
        """Return a layer's node; an error proposes to do without an evaluation."""
        try:
            return self._node(layer)
        except ShapeError as error:
            if not layer.evaluates or error.changes:
                raise
            changes = [{"leave_out": (layer.proto.type,)}]
            remedies = (*error.remedies, "until", "leave_out")
            raise ShapeError(error, remedies=remedies, changes=changes) from error

    def _node(self, layer: Layer) -> Node:
        bottoms = self._bottoms(layer)
        names = _top_names(layer)
        sizes = [value.shape for value in bottoms]
        if isinstance(layer, Crop):
            layer.aligned = align(self.nodes, bottoms)
        shapes = self._shapes(layer, bottoms)
        if len(shapes) != len(names):
            raise ShapeError(f"makes {len(shapes)} top blob(s), the prototxt names {len(names)}")
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ShapeError(f"top blob '{twice[0]}' produced by multiple sources")
        if layer.one_batch:
            self._inputs = {**self._inputs, **follow_batch(names, shapes, self._inputs)}
        blobs = tuple(layer.blobs(*sizes))
        for blob in blobs:
            check_size(blob.name, blob.shape)
        tops = tuple(
            self._top(layer, i, blob, shape)
            for i, (blob, shape) in enumerate(zip(names, shapes, strict=True))
        )
        self._current.update({value.blob: value for value in tops[: len(layer.proto.top)]})
        owners = self._sharing.owners(layer, len(self.nodes), blobs)
        weights = _loss_weights(layer, len(tops))
        own = zip(tops, layer.proto.loss_weight, strict=False)
        self._losses.update(value.name for value, weight in own if weight)
        return Node(layer, bottoms, tops, blobs, owners, weights)

    def _shapes(self, layer: Layer, bottoms: Sequence[Value]) -> list[Shape | None]:
        """Return the tops' shapes; an error proposes the others' shape for a fed bottom."""
        try:
            return layer.shapes(*(value.shape for value in bottoms))
        except ShapeError as error:
            fed = {value.blob: value.shape for value in bottoms if value in self.fed}
            others = {value.shape for value in bottoms if value not in self.fed}
            if error.changes or len(fed) != 1 or len(others) != 1:
                raise
            changes = [{"inputs": dict.fromkeys(fed, others.pop())}]
            raise ShapeError(error, remedies=error.remedies, changes=changes) from error

    def _bottoms(self, layer: Layer) -> tuple[Value, ...]:
        bottoms = layer.proto.bottom
        for i, blob in enumerate(bottoms):
            if blob not in self._current:
                raise ShapeError(
                    f"unknown bottom blob '{blob}' (bottom index {i})",
                    changes=[{"inputs": {blob: None}}],
                )
        check_arity("bottom", len(bottoms), layer.bottoms)
        if len(layer.proto.propagate_down) not in (0, len(bottoms)):
            raise ShapeError(
                f"propagate_down is given {len(layer.proto.propagate_down)} times "
                f"for {len(bottoms)} bottom blob(s)"
            )
        values = tuple(self._current[blob] for blob in bottoms)
        self._readers.update(value.name for value in values)
        return values

    def _top(self, layer: Layer, i: int, blob: str, shape: Shape | None) -> Value:
        if not blob:
            raise UnsupportedError(f"top {i} has no name; in ONNX such a tensor is absent")
        self._check_overwritten(layer, i, blob)
        fed = i in layer.feeds()
        dims: Dims = ()
        if fed:
            given = self._inputs.get(blob)
            shape, dims = input_sizes(blob, shape, given, self._batch, has_source=layer.has_source)
        elif shape is None:
            raise ShapeError(f"'{blob}' has no shape")
        check_size(blob, shape)
        self._writers[blob] -= 1
        # A blob that the caller feeds keeps its name; else the last writer has it.
        last = self._writers[blob] <= 0 and all(value.blob != blob for value in self.fed)
        name = self._names.unique(blob if fed or last else f"{blob}/{layer.name}")
        value = Value(name, blob, shape, shape)
        if fed:
            self.fed.append(value)
            self.varying.open(value, dims)
        return value

    def _check_overwritten(self, layer: Layer, i: int, blob: str) -> None:
        if blob not in self._current:
            return
        bottoms = layer.proto.bottom
        old = self._current[blob].name
        shared = self._readers[old] + (old in self._losses) > 1  # InsertSplits parts them
        if i >= len(bottoms) or bottoms[i] != blob or shared:
            raise ShapeError(f"top blob '{blob}' produced by multiple sources")
        if not layer.inplace:
            raise ShapeError(f"cannot run in place: its top is its own bottom '{blob}'")


def _top_names(layer: Layer) -> list[str]:
    """Return the names of a layer's tops; a loss without one gets one."""
    tops = list(layer.proto.top)
    if layer.loss and not tops:
        return [f"{layer.name}/loss"]
    check_arity("top", len(tops), layer.tops)
    return tops


def _loss_weights(layer: Layer, tops: int) -> tuple[float, ...]:
    weights = tuple(layer.proto.loss_weight)
    if not weights and layer.loss:
        if tops > 1:  # Caffe adds a single weight of 1, and then compares the numbers
            raise ShapeError(f"needs a loss_weight for each of its {tops} top blobs")
        return (1.0,) * tops
    if not weights:
        return (0.0,) * tops
    if len(weights) != tops:
        raise ShapeError(f"loss_weight is given {len(weights)} times for {tops} top blob(s)")
    return weights
