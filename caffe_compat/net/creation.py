"""Create the layers of a prototxt, each by itself, before anything is connected."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import CaffeCompatError, Changes, UnsupportedError
from ..layers.foreign import evidence, marked, origin
from ..layers.layer import Layer, named
from ..layers.registry import find, registry
from ..prototxt.flow import read_blobs
from ..types import Shape


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
            try:
                return find(proto, self._types, chosen, shapes)(proto)
            except UnsupportedError as error:
                if "fork" not in error.remedies or not (fork := self._evident(proto.type)):
                    raise
                return find(proto, self._types, fork, shapes)(proto)

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
        read = read_blobs(net.layer)
        results = [self._create_or_refuse(proto, read) for proto in net.layer]
        refused = [each for each in results if isinstance(each, UnsupportedError)]
        if refused:
            raise UnsupportedError.joined(refused)
        return [each for each in results if isinstance(each, Layer)]

    def _create_or_refuse(
        self, proto: LayerParameter, read: Collection[str]
    ) -> Layer | UnsupportedError:
        try:
            return self.create(proto)
        except UnsupportedError as error:
            changes = error.changes or [_way_around(proto, read)]
            return UnsupportedError(error, remedies=error.remedies, changes=changes)

    def classes(self, kind: str) -> tuple[type[Layer], ...]:
        """Return the classes of a layer type; none where it is unknown."""
        return self._types.get(kind, ())

    def _evident(self, kind: str) -> str | None:
        """Return the one fork with a type that the rest of the net tells, if there is one."""
        forks = {cls.fork for cls in self._types[kind] if marked(cls.fork, self._marks)}
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


def _way_around(proto: LayerParameter, read: Collection[str]) -> Changes:
    """Return the change that does without a layer: its tops as inputs, or leaving it out."""
    tops = [top for top in proto.top if top in read]
    if tops and not proto.bottom:
        return {"inputs": dict.fromkeys(tops)}
    return {"leave_out": (proto.name if proto.type == "Python" else proto.type,)}


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
