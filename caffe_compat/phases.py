"""The layers of a net's phases, levels and stages, and what each layer needs to be taken."""

from __future__ import annotations

from dataclasses import dataclass

from .caffe_pb2 import LayerParameter, NetParameter, Phase
from .options import Reading
from .prototxt import phase


@dataclass(frozen=True)
class Phases:
    """A net with the layers of every phase, level and stage.

    Attributes:
        net: the upgraded net.
    """

    net: NetParameter

    def selected(self, reading: Reading) -> NetParameter:
        """Return the net of the layers that the phase, level and stages take."""
        return phase.select(self.net, reading.number, reading.level, reading.stages)

    def makers(self, blob: str, reading: Reading) -> list[LayerParameter]:
        """Return the layers that compute a blob and that the phase, level and stages leave out."""
        state = self.selected(reading).state
        return [
            layer
            for layer in self.net.layer
            if blob in layer.top and not phase.admits(layer, state)
        ]

    def stages(self, blob: str, reading: Reading) -> tuple[str, ...]:
        """Return the stages with which a layer that makes a blob is taken."""
        for layer in self.makers(blob, reading):
            for rule in layer.include:
                stages = tuple(each for each in rule.stage if each not in reading.stages)
                other = rule.HasField("phase") and rule.phase != reading.number
                if stages and not other and "deploy" in stages:
                    return stages
        for layer in self.makers(blob, reading):
            for rule in layer.include:
                other = rule.HasField("phase") and rule.phase != reading.number
                if rule.stage and not other:
                    return tuple(rule.stage)
        return ()


def list_rules(layer: LayerParameter) -> str:
    """Return what a layer needs to be taken, as `which needs phase TRAIN`."""
    words = []
    for rule in layer.include:
        needs = [f"phase {Phase.Name(rule.phase)}"] if rule.HasField("phase") else []
        needs += [f"stage {each}" for each in rule.stage]
        needs += [f"level {rule.min_level} or more"] if rule.HasField("min_level") else []
        words.append(" and ".join(needs))
    return f"which needs {' or '.join(words)}" if any(words) else "which its rules leave out"
