"""Which layers of a net exist in a phase, at a level, with stages set (net.cpp: FilterNet)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ..caffe_pb2 import (
    LayerParameter,
    NetParameter,
    NetState,
    NetStateRule,
    Phase,
    V1LayerParameter,
)
from ..errors import ParseError
from .skipped import Skipped


def select(
    net: NetParameter, phase: int | Phase, level: int = 0, stages: Sequence[str] = ()
) -> NetParameter:
    """Drops the layers whose include and exclude rules keep them out.

    Args:
        net: an upgraded net; not changed.
        phase: TRAIN or TEST; replaces the prototxt's own.
        level: replaces the prototxt's own.
        stages: added to those that the prototxt sets.

    Returns:
        The net that Caffe builds: its state as asked for, each layer's phase set.

    Raises:
        ParseError: a layer has include rules and exclude rules.
    """
    new = NetParameter()
    new.CopyFrom(net)
    new.ClearField("layer")
    new.state.CopyFrom(_state(net, phase, level, stages))
    for layer in net.layer:
        if kept(layer, new.state):
            added = new.layer.add()
            added.CopyFrom(layer)
            if not added.HasField("phase"):
                added.phase = new.state.phase
    return new


def select_skipped(
    skipped: Iterable[Skipped],
    net: NetParameter,
    phase: int | Phase,
    level: int = 0,
    stages: Sequence[str] = (),
) -> list[Skipped]:
    """Of the fields that a reader skipped, those in layers that `select` would keep.

    A field skipped inside a rule counts always: nobody knows what the rule says without it.

    Args:
        skipped: from `files.read_net`.
        net: the net as it was read, before any upgrade.
        phase: as for `select`.
        level: as for `select`.
        stages: as for `select`.

    Raises:
        ParseError: a layer has include rules and exclude rules.
    """
    state = _state(net, phase, level, stages)
    layers = net.layer or net.layers
    chosen = {i for i in range(len(layers)) if kept(layers[i], state)}
    return [skip for skip in skipped if skip.layer in chosen or skip.message == "NetStateRule"]


def _state(net: NetParameter, phase: int | Phase, level: int, stages: Collection[str]) -> NetState:
    if not -(2**31) <= level < 2**31:
        raise ParseError(f"level {level} does not fit in 32 bits")
    state = NetState(stage=net.state.stage, phase=Phase.Name(int(phase)), level=level)
    state.stage.extend(stages)
    return state


def kept(layer: LayerParameter | V1LayerParameter, state: NetState) -> bool:
    """Whether a layer's include and exclude rules let it into a net of this state.

    Raises:
        ParseError: it has rules of both kinds.
    """
    if layer.include and layer.exclude:
        raise ParseError(f"layer '{layer.name}' has include and exclude rules; give one kind")
    if layer.include:
        return any(_holds(rule, state) for rule in layer.include)
    return not any(_holds(rule, state) for rule in layer.exclude)


def _holds(rule: NetStateRule, state: NetState) -> bool:
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)
