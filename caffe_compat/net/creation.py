"""Create the layers of a prototxt, each by itself, before anything is connected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import CaffeCompatError, Changes, UnsupportedError
from ..layers.arity import admits
from ..layers.foreign import evidence, marked, origin, particular
from ..layers.layer import Layer
from ..layers.naming import named
from ..layers.registry import find, registry
from ..prototxt.flow import Flow, read_blobs
from ..types import Shape

# Names of types that are not known: those that have weights, and those that prepare data.
_WEIGHTED = re.compile(r"conv|innerproduct|embed|lstm", re.IGNORECASE)
_PREPARING = re.compile(r"transform(ation)?$|augmentation$|noise", re.IGNORECASE)


class Creator:
    """Creates layers of the registered types.

    Args:
        fork: whose layers, for types that forks of Caffe define differently under one name: a
            name for all layers, or by type or layer, as `Crop=fcn,Proposal=pvanet`.
        stored: the shapes of the blobs in the weights file by layer name, which tell some of
            these types apart; None where there is no file.
        net: the net, whose other types and fields may tell whose it is.

    Attributes:
        stored: the same; empty where there is no file.

    Raises:
        UnsupportedError: the fork is unknown.
    """

    def __init__(
        self,
        fork: str | None = None,
        stored: Mapping[str, Sequence[Shape]] | None = None,
        net: NetParameter | None = None,
    ) -> None:
        self._types = registry()
        self.stored = stored or {}
        self._marks = evidence(net) if net else frozenset()
        forks = {cls.fork for classes in self._types.values() for cls in classes if cls.fork}
        self._forks = _forks(fork, sorted(forks))

    def create(self, proto: LayerParameter) -> Layer:
        """Create a layer.

        Raises:
            UnsupportedError: its type is unknown, refused, or ambiguous among forks.
            CaffeCompatError: its parameters are refused.
        """
        shapes = self.stored.get(proto.name) or None
        chosen = self._forks.get(proto.name) or self._forks.get(proto.type) or self._forks.get("")
        with named(proto):
            if proto.type not in self._types:
                raise UnsupportedError(
                    f"unknown layer type{self._hint(proto.type)}",
                    remedies=("until", "leave_out", "register"),
                )
            layer = self._class(proto, chosen, shapes)(proto)
            layer.stored_shapes = shapes or ()
            return layer

    def attempt(self, proto: LayerParameter) -> Layer | None:
        """Return the layer, or None where it cannot be created."""
        try:
            return self.create(proto)
        except CaffeCompatError:
            return None

    def create_all(self, net: NetParameter) -> list[Layer]:
        """Create a net's layers.

        Raises:
            UnsupportedError: every layer type that is unknown or refused, all at once.
        """
        results = [self._create_or_refuse(proto) for proto in net.layer]
        refused = {i: each for i, each in enumerate(results) if isinstance(each, UnsupportedError)}
        if refused:
            raise UnsupportedError.joined(_with_ways(net, refused))
        return [each for each in results if isinstance(each, Layer)]

    def _create_or_refuse(self, proto: LayerParameter) -> Layer | UnsupportedError:
        try:
            return self.create(proto)
        except UnsupportedError as error:
            return error

    def classes(self, kind: str) -> tuple[type[Layer], ...]:
        """Return the classes of a layer type; none where it is unknown."""
        return self._types.get(kind, ())

    def learns(self, proto: LayerParameter) -> bool:
        """Return whether a layer has weights; of an unknown type by its name."""
        classes = self.classes(proto.type)
        if not classes:
            return bool(_WEIGHTED.search(proto.type))
        return any(cls.blobs is not Layer.blobs for cls in classes)

    def _class(
        self, proto: LayerParameter, chosen: str | None, shapes: Sequence[Shape] | None
    ) -> type[Layer]:
        """Return a layer's class: where it fits no other, that of the fork that the net tells."""
        fork = self._evident(proto.type)
        try:
            cls = find(proto, self._types, chosen, shapes)
        except UnsupportedError as error:
            if "fork" not in error.remedies or not fork:
                raise
            return find(proto, self._types, fork, shapes)
        doubtful = getattr(cls, "ambiguous", False) or not admits(cls.bottoms, len(proto.bottom))
        if chosen or not fork or not doubtful:
            return cls
        return find(proto, self._types, fork, shapes)

    def _evident(self, kind: str) -> str | None:
        """Return the one fork with a type that the rest of the net tells, if there is one."""
        forks = {c.fork for c in self._types[kind] if c.fork and marked(c.fork, self._marks)}
        forks = particular(forks)
        return forks.pop() if len(forks) == 1 else None

    def _hint(self, kind: str) -> str:
        """Return the fork that is known to have a type, and the known type that is nearest."""
        words = []
        if fork := origin(kind):
            words.append(f"of {fork}")
        known = {name.lower(): name for name in self._types}
        if near := difflib.get_close_matches(kind.lower(), known, 1, 0.8):
            words.append(f"the nearest known one is {known[near[0]]}")
        return f" ({'; '.join(words)})" if words else ""


def _with_ways(
    net: NetParameter, refused: Mapping[int, UnsupportedError]
) -> Iterator[UnsupportedError]:
    """Yield the errors on some layers with the changes that do without these.

    The tops of a data layer become inputs where what is left reads them, and so do those of a layer
    that prepares data for training. Any other layer is left out, with what depends on it.
    """
    flow = Flow.of(net)
    sources: set[int | None] = set()
    for index, proto in enumerate(net.layer):
        prepares = set(proto.top) <= set(proto.bottom) or _PREPARING.search(proto.type)
        first = set(flow.sources[index]) <= sources
        if not proto.bottom or (index in refused and prepares and first):
            sources.add(index)
    out = flow.below({i for i, e in refused.items() if i not in sources and not e.changes})
    read = read_blobs(each for i, each in enumerate(net.layer) if i not in out | refused.keys())
    for index, error in refused.items():
        proto = net.layer[index]
        tops = [top for top in proto.top if top in read]
        way: Changes = {"leave_out": (proto.name if proto.type == "Python" else proto.type,)}
        if index in sources and tops:
            way = {"inputs": dict.fromkeys(tops)}
        changes = error.changes or [way]
        yield UnsupportedError(error, remedies=error.remedies, changes=changes)


def _forks(text: str | None, known: Sequence[str]) -> dict[str, str]:
    """Return the forks of `Crop=fcn,Proposal=pvanet` by type or layer; one for all is under ''.

    Raises:
        UnsupportedError: a fork is unknown.
    """
    chosen: dict[str, str] = {}
    for part in text.split(",") if text else ():
        place, _, name = part.rpartition("=")
        if name not in known:
            raise UnsupportedError(
                f"no fork '{name}' is known; these are: {', '.join(known)}", remedies=("fork",)
            )
        chosen[place] = name
    return chosen
