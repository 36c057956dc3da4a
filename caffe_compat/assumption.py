"""What a prototxt leaves open and a conversion need not ask for, since no number hangs on it.

Pictures whose channels are not stated have those of the weights, or 3; those whose height and width
are not stated have any, where every layer allows it, or a usual size that the weights fit. Losses
and accuracies that cannot run are left out where nothing reads them. A note tells each of these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .caffe_pb2 import LayerParameter, NetParameter
from .errors import CaffeCompatError, Changes
from .net.creation import Creator
from .net.feeding import source_shapes
from .net.pictures import Size, channels, data_sets, declared, extent, has_pictures, reader_of
from .net.roles import is_mask, is_score
from .options import Reading
from .phases import Phases, list_rules
from .prototxt.cut import list_layers
from .prototxt.flow import Flow
from .types import Dims

_MOST = 100  # blobs and layers that cannot run, each of which is followed through the net


class Note(NamedTuple):
    """What was assumed.

    Attributes:
        text: for the user.
        proposal: the arguments that state it, or do better.
        settles: whether it may be what the net is refused with in the end.
    """

    text: str
    proposal: Changes
    settles: bool = False


@dataclass
class Assumption:
    """The assumptions about a net.

    Args:
        net: the upgraded net with the layers of every phase.
        creator: tells which layers can run.
    """

    net: NetParameter
    creator: Creator
    _phases: Phases = field(init=False)

    def __post_init__(self) -> None:
        self._phases = Phases(self.net)

    def of(
        self, error: CaffeCompatError, reading: Reading
    ) -> tuple[dict[str, Any], dict[str, Note]]:
        """Return the changes under which an error may go, and a note on each by its subject.

        Args:
            error: what the net was refused with.
            reading: the options that it was refused under.
        """
        proposed = error.changes[0] if error.changes else {}
        missing = [blob for blob, dims in proposed.get("inputs", {}).items() if dims is None]
        selected = self._phases.selected(reading)
        sizes: dict[str, Dims] = {}
        notes: dict[str, Note] = {}
        scores = self._dead_scores(missing, proposed.get("leave_out", ()), selected, reading)
        for blob in missing:
            changing = [each for each in selected.layer if blob in each.top and each.bottom]
            if any(self.creator.attempt(each) is None for each in changing):
                continue  # nothing is left out that the caller does not name
            if picture := self._picture(blob, selected, reading):
                sizes[blob], notes[blob] = picture
        if scores:
            text = "left out, since only losses and accuracies depend on what cannot run: "
            layers = [each for each in selected.layer if _words(each)[0] in scores]
            notes[",".join(scores)] = Note(text + list_layers(layers), {"deploy": True}, True)
        changes: dict[str, Any] = {"inputs": sizes} if sizes else {}
        return changes | ({"leave_out": scores} if scores else {}), notes

    def fitted(self, explained: CaffeCompatError) -> tuple[Changes, dict[str, Note]]:
        """Return the shapes of pictures that the weights fit, where nothing else is proposed.

        Args:
            explained: the error, with the changes that mend it.
        """
        changes = explained.changes[0] if explained.changes else {}
        if not self.creator.stored or changes.keys() != {"inputs"}:
            return {}, {}
        return changes, {
            blob: Note(
                f"'{blob}' is taken to be {'x'.join(map(str, dims))}, a usual size, which the "
                "weights fit",
                {"inputs": {blob: dims}},
            )
            for blob, dims in changes["inputs"].items()
        }

    def labels(self, blobs: Iterable[str], selected: NetParameter) -> bool:
        """Return whether some of the blobs are labels: they end in scores, and no weights do."""
        flow = Flow.of(selected)
        for blob in blobs:
            readers = {i for i, each in enumerate(selected.layer) if blob in each.bottom}
            below = [selected.layer[i] for i in flow.below(readers)]
            if any(map(_scores, below)) and not any(map(self.creator.learns, below)):
                return True
        return False

    def _dead_scores(
        self,
        missing: Sequence[str],
        refused: Collection[str],
        selected: NetParameter,
        reading: Reading,
    ) -> tuple[str, ...]:
        """Return the names of layers that cannot run and end in losses and accuracies alone.

        None of them computes a prediction: those are read by losses, accuracies and masks alone.

        Args:
            missing: blobs without a shape.
            refused: names or types of layers that cannot run.
            selected: the layers of the phase.
            reading: the options.
        """
        if len(missing) + len(refused) > _MOST:
            return ()
        flow = Flow.of(selected)
        layers = selected.layer
        labels = {
            blob
            for blob in missing
            if self.labels([blob], selected) and not self._phases.stages(blob, reading)
        }
        refusing = {
            index
            for index, layer in enumerate(layers)
            if layer.bottom and self._refused(layer, refused)
        }
        dead = refusing | {i for i, each in enumerate(layers) if not labels.isdisjoint(each.bottom)}
        below = flow.below(dead)
        silent = {index for index, layer in enumerate(layers) if layer.type == "Silence"}
        for index, layer in enumerate(layers):  # a data layer goes with all that reads its tops
            if not layer.bottom and not labels.isdisjoint(layer.top):
                readers = flow.below({index}) - {index}
                if readers <= below | silent:
                    dead.add(index)
                    below |= {index, *readers}
        used = {source for sources in flow.sources for source in sources}
        ends = {index for index in below - used if layers[index].bottom}
        scores = {index for index in ends if _scores(layers[index])}
        others = {word for i, each in enumerate(layers) if i not in below for word in _words(each)}
        names = tuple(dict.fromkeys(_words(layers[index])[0] for index in sorted(dead)))
        lone = scores == ends and others.isdisjoint(names)
        learned = flow.below({i for i, each in enumerate(layers) if self.creator.learns(each)})
        comparing = {i for i in below if not learned.isdisjoint({*flow.sources[i]} - below)}
        compared = all(_scores(layers[index]) or is_mask(layers[index]) for index in comparing)
        learning = any(self.creator.learns(layers[index]) for index in below)
        ending = all(not flow.below({index}) & scores <= silent for index in refusing)
        sound = lone and compared and ending and not learning
        return names if sound and not reading.deploy else ()

    def _refused(self, layer: LayerParameter, names: Collection[str]) -> bool:
        named = layer.name in names or layer.type in names
        known = bool(self.creator.classes(layer.type))  # what an unknown type does is not told
        return named and known and self.creator.attempt(layer) is None

    def _picture(
        self, blob: str, selected: NetParameter, reading: Reading
    ) -> tuple[Dims, Note] | None:
        """Return the shape of a data layer's pictures, and a note; None where they may be none.

        Height and width may be stated for another phase; they are open where they are not stated.

        Args:
            blob: the pictures.
            selected: the layers of the phase.
            reading: the options.
        """
        layer = reader_of(blob, self.net if reading.deploy else selected)
        if layer is not None and (dims := declared(layer)):
            text = f"'{blob}' has the shape in input_param, which {layer.type} lacks"
            return dims, Note(text, {"inputs": {blob: dims}})
        other = None if layer or self._phases.stages(blob, reading) else reader_of(blob, self.net)
        source = layer or other
        known = self.creator.attempt(layer) if layer is not None else None
        if source is None or blob != source.top[0]:
            return None
        whole = reading.deploy or other is not None
        height, width = extent(blob, self.net if whole else selected)
        usual = data_sets([source])
        whence = [f"as for '{other.name}', {list_rules(other)}"] if other else []
        if height is None and usual:
            word, ((_, height, width), *_) = next(iter(usual.items()))
            whence.insert(0, f"as {word} has")
        certain = height is not None and (known or other or reading.deploy)
        if not certain and not has_pictures(blob, selected, self.creator):
            return None
        own = getattr(known.p, "batch_size", 1) or 1 if known else 1
        count, told = self._channels(blob, usual)
        text = f"'{blob}' is taken to have {count} channels, {told}"
        if height is None:
            text += "; height and width are open, since nothing states them"
        elif whence:
            text += f", and {height} x {width} pixels, {' and '.join(whence)}"
        shape = (None if reading.deploy else own, count, height, width)
        return shape, Note(text, {"inputs": {blob: shape}}, height is None)

    def _channels(self, blob: str, usual: Mapping[str, Sequence[Size]]) -> tuple[int, str]:
        """Return the channels of pictures, and what tells them.

        Args:
            blob: the pictures.
            usual: the well-known data sets that they are of, and their sizes.
        """
        if found := channels(blob, self.net, self.creator.stored):
            return found[0], f"as the weights of '{found[1]}' have"
        shape = source_shapes(self.net, self.creator).get(blob, ())
        if len(shape) == 4:  # fewer: another phase's labels have that name
            return shape[1], "as there are values of mean_value"
        layer = reader_of(blob, self.net)
        if layer is not None and layer.type == "ImageData" and not layer.image_data_param.is_color:
            return 1, "since is_color is false"
        for word, sizes in usual.items():
            return sizes[0][0], f"as {word} has"
        return 3, "which nothing states; give its shape if it has others"


def _scores(layer: LayerParameter) -> bool:
    """Return whether a layer is a loss, an accuracy or another evaluation."""
    return is_score(layer) or any(layer.loss_weight)


def _words(layer: LayerParameter) -> tuple[str, str]:
    """Return what names a layer in leave_out: its name, if it has one, or its type."""
    return layer.name or layer.type, layer.type
