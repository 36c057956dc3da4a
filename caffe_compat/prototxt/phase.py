"""Select the layers of a phase, a level and stages (net.cpp: FilterNet)."""

from __future__ import annotations

from collections.abc import Iterable

from ..caffe_pb2 import (
    RUN,
    TEST,
    LayerParameter,
    NetParameter,
    NetState,
    NetStateRule,
    Phase,
    V1LayerParameter,
)
from ..errors import ParseError
from .skipped import Skipped, is_harmless


def select(
    net: NetParameter, phase: int | Phase, level: int = 0, stages: Iterable[str] = ()
) -> NetParameter:
    """Drop the layers that their include and exclude rules keep out.

    Args:
        net: an upgraded net; not changed.
        phase: TRAIN, TEST or MyCaffe's RUN; replaces the prototxt's own.
        level: replaces the prototxt's own.
        stages: added to the prototxt's own.

    Returns:
        The net that Caffe builds: with this state, and a phase in each layer. That of RUN is TEST,
        since MyCaffe's layers compute the same in both.

    Raises:
        ParseError: a layer has include rules and exclude rules.
    """
    new = NetParameter()
    new.CopyFrom(net)
    new.ClearField("layer")
    new.state.CopyFrom(_state(net, phase, level, stages))
    for layer in net.layer:
        if admits(layer, new.state):
            copy = new.layer.add()
            copy.CopyFrom(layer)
            if not copy.HasField("phase"):
                copy.phase = new.state.phase
            if copy.phase == RUN:
                copy.phase = TEST
    return new


def select_skipped(
    skipped: Iterable[Skipped],
    net: NetParameter,
    phase: int | Phase,
    level: int = 0,
    stages: Iterable[str] = (),
    *,
    harmless: bool = False,
) -> list[Skipped]:
    """Return the skipped fields that may change a number, in layers that `select` would keep.

    A field skipped inside a rule always counts: without it the rule's meaning is not known.

    Args:
        skipped: from `reader.read_net`.
        net: the net as it was read, before any upgrade.
        phase: as for `select`.
        level: as for `select`.
        stages: as for `select`.
        harmless: return those that change no number of a net that is fed, too.

    Raises:
        ParseError: a layer has include rules and exclude rules.
    """
    state = _state(net, phase, level, stages)
    layers = net.layer or net.layers
    indices = {i for i in range(len(layers)) if admits(layers[i], state)}
    return [
        skip
        for skip in skipped
        if skip.message == "NetStateRule"
        or (skip.layer in indices and (harmless or not is_harmless(skip, layers[skip.layer])))
    ]


def _state(net: NetParameter, phase: int | Phase, level: int, stages: Iterable[str]) -> NetState:
    if not -(2**31) <= level < 2**31:
        raise ParseError(f"level {level} does not fit in 32 bits")
    state = NetState(stage=net.state.stage, phase=Phase.Name(int(phase)), level=level)
    state.stage.extend(stages)
    return state


def admits(layer: LayerParameter | V1LayerParameter, state: NetState) -> bool:
    """Return whether a layer's include and exclude rules admit it to a net of this state.

    Raises:
        ParseError: it has rules of both kinds.
    """
    if layer.include and layer.exclude:
        raise ParseError(f"layer '{layer.name}' has include and exclude rules; give one kind")
    if layer.include:
        return any(_matches(rule, state) for rule in layer.include)
    return not any(_matches(rule, state) for rule in layer.exclude)


def _matches(rule: NetStateRule, state: NetState) -> bool:
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)
