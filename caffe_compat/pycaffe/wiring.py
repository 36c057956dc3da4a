"""A live net's layers and blobs, connected as Caffe's Net::Init connects them (net.cpp)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import ParseError, ShapeError, UnsupportedError, in_file
from ..layers.families.python import Python
from ..layers.layer import Layer
from ..layers.naming import named
from ..layers.registry import find, registry
from ..net.build import read_files
from ..net.sharing import Place, Sharing
from ..prototxt import reader
from ..prototxt.phase import select, select_skipped
from ..prototxt.splits import insert_splits
from ..prototxt.upgrade import upgrade
from ..types import Shape
from . import mode
from .blob import Blob, shape_of, share_data, share_diff
from .feeding import data_layer
from .python_layer import PythonStep, is_importable
from .reading import PATHS
from .steps import Computed, Step
from .writing import OutputStep

AUTOMATIC = "(automatic)"  # the name of a top that the prototxt does not give


def read(path: str, phase: int, level: int, stages: Sequence[str]) -> NetParameter:
    """Read a net's prototxt of any era: the layers of a phase, with Caffe's Split layers.

    Raises:
        ParseError: the file is no prototxt, or has a field that is not known.
    """
    net, skipped = reader.read_net(path, phase)
    kept = select_skipped(skipped, net, phase, level, stages)
    if kept:
        more = f"; and {len(kept) - 5} more" if len(kept) > 5 else ""
        raise ParseError("; ".join(str(skip) for skip in kept[:5]) + more)
    with in_file(path):
        current = upgrade(net)
    return with_phase(insert_splits(select(current, phase, level, stages)))


def with_phase(net: NetParameter) -> NetParameter:
    """Return the net with its phase in the layers that have none, the Splits (changed in place)."""
    for layer in net.layer:
        if not layer.HasField("phase"):
            layer.phase = net.state.phase
    return net


def multiplier(wiring: Wiring, place: Place, field: str) -> float:
    """Return lr_mult or decay_mult of a parameter: of those that share it, the first one's given.

    Args:
        wiring: the net.
        place: the (layer, parameter) that owns the data.
        field: `lr_mult` or `decay_mult`.
    """
    for step, owners in zip(wiring.steps, wiring.owners, strict=True):
        for spec, owner in zip(step.proto.param, owners, strict=False):
            if owner == place and spec.HasField(field):
                return float(getattr(spec, field))
    owner_type = wiring.steps[place[0]].proto.type
    return 0.0 if owner_type == "BatchNorm" and field == "lr_mult" else 1.0


@dataclass
class Wiring:
    """The parts of a live net.

    Attributes:
        net: the message, Split layers included.
        steps: the layers in their order.
        blobs: the blobs, in the order in which layers make them.
        blob_names: their names.
        bottom_ids: for each layer the indices of the blobs that it reads.
        top_ids: likewise of those that it writes.
        inputs: the indices of the Input layers' blobs.
        outputs: the indices of the blobs that no layer reads, sorted by name.
        owners: for each layer's parameters the (layer, parameter) that owns the data.
    """

    net: NetParameter
    steps: list[Step] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    blob_names: list[str] = field(default_factory=list)
    bottom_ids: list[list[int]] = field(default_factory=list)
    top_ids: list[list[int]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    owners: list[tuple[Place, ...]] = field(default_factory=list)

    @property
    def layer_names(self) -> list[str]:
        """The layers' names."""
        return [step.proto.name for step in self.steps]

    @property
    def loss_weights(self) -> list[float]:
        """The loss weight of each blob."""
        weights = [0.0] * len(self.blobs)
        for step, ids in zip(self.steps, self.top_ids, strict=True):
            for index, weight in zip(ids, step.loss_weights, strict=True):
                weights[index] = weight
        return weights


def connect(net: NetParameter, stored: Mapping[str, Sequence[Shape]] | None = None) -> Wiring:
    """Build the layers of a net and their blobs, and fill the parameters.

    Args:
        net: from `read`.
        stored: by layer name the shapes of the blobs in a weights file, where there is one.

    Raises:
        UnsupportedError: every layer type that is unknown or refused, all at once.
        ShapeError: what Caffe's CHECKs refuse, with the layer's name.
    """
    return _Init(net, _known_layers(net, stored or {})).wiring


def _known_layers(
    net: NetParameter, stored: Mapping[str, Sequence[Shape]]
) -> list[Layer | LayerParameter]:
    """Return this package's layers, and the messages of those that are the user's Python code."""
    types = registry()
    layers: list[Layer | LayerParameter] = []
    refused: list[str] = []
    for proto in net.layer:
        try:
            with named(proto):
                cls = find(proto, types, mode.fork(), stored.get(proto.name) or None)
                own = cls is Python or (proto.type == "Python" and is_importable(proto))
                layers.append(proto if own else cls(proto))
        except UnsupportedError as error:  # noqa: PERF203 - all of them are named at once
            refused.append(str(error))
    if refused:
        raise UnsupportedError("; ".join(refused))
    read_files((layer for layer in layers if isinstance(layer, Layer)), PATHS.find)
    return layers


class _Init:
    """One walk over the layers, as Net::Init's."""

    def __init__(self, net: NetParameter, layers: Sequence[Layer | LayerParameter]) -> None:
        self.wiring = Wiring(net)
        self._ids: dict[str, int] = {}
        self._available: set[str] = set()
        self._needs: list[bool] = []  # of a blob, whether backward reaches it
        self._sharing = Sharing()
        for layer in layers:
            step = PythonStep(layer) if isinstance(layer, LayerParameter) else _step(layer)
            with step.named():
                self._append(step)
        _skip_backward(self.wiring)
        if net.force_backward:
            _force_backward(self.wiring)
        self.wiring.outputs = [self._ids[name] for name in sorted(self._available)]
        _share(self.wiring)

    def _append(self, step: Step) -> None:
        wiring, proto = self.wiring, step.proto
        wiring.steps.append(step)
        bottoms = [self._bottom(step, i, name) for i, name in enumerate(proto.bottom)]
        need = any(self._needs[i] for i in bottoms)
        names = list(proto.top)
        tops = [self._top(step, i, name) for i, name in enumerate(names)]
        tops += [self._new(AUTOMATIC) for _ in range(step.auto_tops - len(names))]
        step.bottoms, step.tops = ([wiring.blobs[i] for i in ids] for ids in (bottoms, tops))
        wiring.bottom_ids.append(bottoms)
        wiring.top_ids.append(tops)
        if proto.type == "Input":
            wiring.inputs += tops
        step.setup()
        step.loss_weights = _loss_weights(step)
        for top, weight in zip(step.tops, step.loss_weights, strict=True):
            if weight:
                top.diff[...] = weight
        wiring.owners.append(self._owners(step))
        rates = [spec.lr_mult for spec in proto.param]
        rates += [1.0] * (len(step.blobs) - len(rates))
        step.param_propagate = [rate != 0 for rate in rates[: len(step.blobs)]]
        step.need_backward = need or any(step.param_propagate)
        if step.need_backward:
            for i in tops:
                self._needs[i] = True

    def _bottom(self, step: Step, i: int, name: str) -> int:
        if name not in self._available:
            raise ShapeError(f"Unknown bottom blob '{name}' (bottom index {i})")
        self._available.discard(name)
        index, stated = self._ids[name], step.proto.propagate_down
        if len(stated) not in (0, len(step.proto.bottom)):
            raise ShapeError(
                f"propagate_down is given {len(stated)} times for {len(step.proto.bottom)} bottoms"
            )
        step.propagate.append(stated[i] if stated else self._needs[index])
        return index

    def _top(self, step: Step, i: int, name: str) -> int:
        bottoms = step.proto.bottom
        if i < len(bottoms) and bottoms[i] == name:
            if isinstance(step, Computed) and not step.layer.inplace:
                raise ShapeError(f"cannot run in place: its top is its own bottom '{name}'")
            index = self._ids[name]
        elif name in self._ids:
            raise ShapeError(f"Top blob '{name}' produced by multiple sources.")
        else:
            index = self._ids[name] = self._new(name)
        self._available.add(name)
        return index

    def _new(self, name: str) -> int:
        self.wiring.blobs.append(Blob())
        self.wiring.blob_names.append(name)
        self._needs.append(False)
        return len(self.wiring.blobs) - 1

    def _owners(self, step: Step) -> tuple[Place, ...]:
        from ..layers.layer import Blob as Stated

        stated = [Stated(str(i), shape_of(blob)) for i, blob in enumerate(step.blobs)]
        return self._sharing.owners(_Named(step.proto), len(self.wiring.steps) - 1, stated)


class _Named(Layer):
    """A layer that has a message and nothing else, for what reads no more of it."""

    def __init__(self, proto: LayerParameter) -> None:
        self.proto, self.name = proto, proto.name


def _step(layer: Layer) -> Step:
    return OutputStep(layer) if layer.type == "HDF5Output" else data_layer(layer) or Computed(layer)


def _loss_weights(step: Step) -> list[float]:
    weights = list(step.proto.loss_weight)
    if not weights and step.auto_tops:
        weights = [1.0]
    if weights and len(weights) != len(step.tops):
        raise ShapeError(
            f"loss_weight must be unspecified or specified once per top blob: {len(weights)} for "
            f"{len(step.tops)}"
        )
    return weights or [0.0] * len(step.tops)


def _skip_backward(wiring: Wiring) -> None:
    """Leave out of backward what contributes to no loss, or whose bottoms all stop it."""
    under_loss: set[str] = set()
    skipped: set[str] = set()
    names = wiring.blob_names
    for step, bottoms, tops in reversed(
        [*zip(wiring.steps, wiring.bottom_ids, wiring.top_ids, strict=True)]
    ):
        contributes, skip = False, True
        for index, weight in zip(tops, step.loss_weights, strict=True):
            contributes = contributes or bool(weight) or names[index] in under_loss
            skip = skip and names[index] in skipped
            if contributes and not skip:
                break
        if step.need_backward and skip:
            step.need_backward = False
            step.propagate = [False] * len(bottoms)
        if not contributes:
            step.need_backward = False
            step.propagate = [False] * len(bottoms)
        else:
            under_loss.update(names[index] for index in bottoms)
        skipped.update(
            names[index]
            for index, wanted in zip(bottoms, step.propagate, strict=True)
            if not wanted
        )


def _force_backward(wiring: Wiring) -> None:
    for step in wiring.steps:
        step.need_backward = True
        step.propagate = [
            wanted or step.allows_force_backward(i) for i, wanted in enumerate(step.propagate)
        ]
        step.param_propagate = [True] * len(step.blobs)


def _share(wiring: Wiring) -> None:
    """Make the parameters of one name one memory."""
    for index, places in enumerate(wiring.owners):
        for i, (layer, place) in enumerate(places):
            if (layer, place) != (index, i):
                owner: Any = wiring.steps[layer].blobs[place]
                share_data(wiring.steps[index].blobs[i], owner)
                share_diff(wiring.steps[index].blobs[i], owner)
