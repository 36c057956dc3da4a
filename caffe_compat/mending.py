"""What would mend a refusal: every obstacle at once, and arguments with which the net is built.

Where only the channels of pictures are not stated they are assumed, and a note says so; a height
and width that are not stated stay open, where every layer allows it. Errors propose changes of the
arguments; these are tried, one after the other, until the net is built, so that what is proposed in
the end is known to work.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from .caffe_pb2 import LayerParameter, NetParameter
from .errors import CaffeCompatError, Changes, merge
from .net.creation import Creator
from .net.deploy import is_score, stated_shapes
from .net.graph import Graph, Node
from .net.pictures import (
    LIKELY,
    Size,
    channels,
    data_sets,
    declared,
    extent,
    filled,
    reader_of,
)
from .options import Reading
from .phases import Phases, list_rules
from .prototxt.flow import Flow
from .steps import Left
from .types import Dims

log = logging.getLogger("caffe_compat")

_TRIALS, _DEPTH = 60, 8
_MOST = 60_000  # layers that are built in all the trials together
_WEIGHTS = 1 << 29  # numbers; a guessed picture that makes a net need more is too large for it
_USUAL = {"im_info": (1, 3), "image_sizes": (1, 2), "rois": (1, 5), "label": (1,)}


@dataclass
class Mending:
    """The search for arguments with which a net is built.

    Args:
        net: the upgraded net with the layers of every phase.
        walk: builds the net under some options, to which its weights fit, and returns it with what
            was left out.
        creator: tells which layers can run.
    """

    net: NetParameter
    walk: Callable[[Reading], tuple[Graph, Left]]
    creator: Creator
    _phases: Phases = field(init=False)
    _left: int = field(default=0, init=False)
    _met: list[CaffeCompatError] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._phases = Phases(self.net)
        # A stranger's net may have a million layers.
        self._left = max(_DEPTH, min(_TRIALS, _MOST // max(1, len(self.net.layer))))

    def assume(self, error: CaffeCompatError, reading: Reading) -> tuple[Graph, Left]:
        """Build the net with pictures of the stated size, or of any size where none is stated.

        Channels are those of the weights, or 3; the size may be stated for another phase.

        Args:
            error: what the net was refused with.
            reading: the options that it was refused under.

        Raises:
            CaffeCompatError: that does not build it; with all that stands in the way.
        """
        notes: dict[str, str] = {}
        first = error, reading
        while True:
            sizes, told = self._stated(error, reading)
            if not told.keys() - notes.keys():
                unfit = any(None in dims[1:] for dims in reading.inputs.values())
                explained = self.explain(*first) if unfit else self.explain(error, reading)
                if notes and not explained.changes:  # the assumption may be what is wrong
                    explained = self.explain(*first)
                raise explained from error
            notes |= told
            reading = apply(reading, {"inputs": sizes})
            try:
                built = self.walk(reading)
            except CaffeCompatError as following:
                error = following
            else:
                for blob, note in notes.items():
                    proposal = {"inputs": {blob: reading.inputs[blob]}}
                    log.info("%s", note, extra={"proposal": proposal})
                return built

    def _stated(
        self, error: CaffeCompatError, reading: Reading
    ) -> tuple[dict[str, Dims], dict[str, str]]:
        """Return the shapes, and a note on each, of the pictures that a data layer reads.

        It is that of another phase where this one has none.
        """
        sizes: dict[str, Dims] = {}
        notes: dict[str, str] = {}
        missing = error.changes[0].get("inputs", {}) if error.changes else {}
        selected = self._phases.selected(reading)
        for blob in missing:
            changing = [each for each in selected.layer if blob in each.top and each.bottom]
            if any(self.creator.attempt(each) is None for each in changing):
                continue  # nothing is left out that the caller does not name
            layer = reader_of(blob, self.net if reading.deploy else selected)
            if layer is not None and (dims := declared(layer)):
                sizes[blob] = dims
                notes[blob] = f"'{blob}' has the shape in input_param, which {layer.type} lacks"
            elif picture := self._picture(blob, layer, reading):
                sizes[blob], notes[blob] = picture
        return sizes, notes

    def _picture(
        self, blob: str, layer: LayerParameter | None, reading: Reading
    ) -> tuple[Dims, str] | None:
        """Return the shape of a data layer's pictures, and a note; None where they may be none.

        Height and width are open where they are not stated.

        Args:
            blob: the pictures.
            layer: the layer that reads them, if the phase has one.
            reading: the options.
        """
        other = None if layer or self._phases.stages(blob, reading) else reader_of(blob, self.net)
        source = layer or other
        known = self.creator.attempt(layer) if layer is not None else None
        if source is None or blob != source.top[0] or not (known or other or reading.deploy):
            return None
        whole = reading.deploy or other is not None
        height, width = extent(blob, self.net if whole else self._phases.selected(reading))
        usual = data_sets([source])
        whence = [f"as for '{other.name}', {list_rules(other)}"] if other else []
        if height is None and usual:
            word, ((_, height, width), *_) = next(iter(usual.items()))
            whence.insert(0, f"as {word} has")
        if height is None and source.type == "HDF5Data":
            return None
        own = getattr(known.p, "batch_size", 1) or 1 if known else 1
        count, told = self._channels(blob, usual)
        note = f"'{blob}' is taken to have {count} channels, {told}"
        if height is None:
            note += "; height and width are open, since nothing states them"
        elif whence:
            note += f", and {height} x {width} pixels, {' and '.join(whence)}"
        return (None if reading.deploy else own, count, height, width), note

    def _channels(self, blob: str, usual: Mapping[str, Sequence[Size]]) -> tuple[int, str]:
        """Return the channels of pictures of a known size, and what tells them.

        Args:
            blob: the pictures.
            usual: the well-known data sets that they are of, and their sizes.
        """
        if found := channels(blob, self.net, self.creator.stored):
            return found[0], f"as the weights of '{found[1]}' have"
        shape = stated_shapes(self.net, self.creator).get(blob, ())
        if len(shape) == 4:  # fewer: another phase's labels have that name
            return shape[1], "as there are values of mean_value"
        for word, sizes in usual.items():
            return sizes[0][0], f"as {word} has"
        return 3, "which nothing states; give its shape if it has others"

    def explain(self, error: CaffeCompatError, reading: Reading) -> CaffeCompatError:
        """Return the error with all that stands in the way, and the changes that mend it.

        Args:
            error: what the net was refused with.
            reading: the options that it was refused under.
        """
        self._met = []
        route = self._search([error], reading, {})
        words = "; ".join(dict.fromkeys(self._words(each, reading) for each in self._met))
        remedies = dict.fromkeys(name for each in self._met for name in each.remedies)
        if route is None:
            return type(error)(words, remedies=remedies)
        proposal = ", ".join(f"{name}={value!r}" for name, value in route.items())
        return type(error)(
            f"{words}; it is read with {proposal}", remedies=remedies, changes=[route]
        )

    def _search(
        self, met: list[CaffeCompatError], reading: Reading, changes: Changes
    ) -> Changes | None:
        """Return the changes with which the net is built; None if nothing tried leads there.

        Args:
            met: the errors so far, each of them after the changes that the ones before propose.
            reading: the options under which the last one was raised.
            changes: what they differ in from the caller's.
        """
        if len(met) > len(self._met):
            self._met = met
        for change in self._proposals(met[-1], reading) if len(met) <= _DEPTH else ():
            if self._left <= 0:
                return None
            self._left -= 1
            changed, together = apply(reading, change), merge(changes, change)
            try:
                graph, left = self.walk(changed)
            except CaffeCompatError as error:
                if (str(error), error.changes) != (str(met[-1]), met[-1].changes):
                    route = self._search([*met, error], changed, together)
                    if route is not None:
                        return route
            else:
                if left.kept > 0.5 and _count(graph) < _WEIGHTS:
                    doubts = _doubts(graph)
                    self._met = met + doubts
                    forks = (each.changes[0] for each in doubts)
                    return functools.reduce(merge, forks, together)
        return None

    def _proposals(self, error: CaffeCompatError, reading: Reading) -> Iterator[Changes]:
        """Yield the changes to try: the error's own, a stage, and the deploy form."""
        selected = self._phases.selected(reading)
        for changes in error.changes:
            out = changes.get("leave_out", ())
            dead = [is_score(e) for e in selected.layer if {e.name, e.type} & {*out}]
            if blobs := [name for name, dims in changes.get("inputs", {}).items() if dims is None]:
                for blob in blobs:
                    made = any(blob in each.top for each in selected.layer)
                    if not made and (stage := self._phases.stages(blob, reading)):
                        yield {"stages": stage}
                scored = any(dead) or self._only_scored(selected, blobs)
                if scored and not reading.deploy:
                    yield {"deploy": True}
                guesses = {blob: self._guess(blob, selected) for blob in blobs}
                open_sizes = any(None in dims for dims in guesses.values())
                usual = data_sets(self.net.layer).values()
                pictures = (*(size for sizes in usual for size in sizes), *LIKELY)
                for picture in pictures if open_sizes else pictures[:1]:
                    sized = {blob: filled(dims, picture) for blob, dims in guesses.items()}
                    yield merge(changes, {"inputs": sized})
            else:
                if out and all(dead) and not reading.deploy:
                    yield {"deploy": True}
                yield changes
        if not reading.deploy and any(map(is_score, self.net.layer)):
            yield {"deploy": True}

    def _words(self, error: CaffeCompatError, reading: Reading) -> str:
        """Return an error's message, and which layer of another stage makes what is missing."""
        words = str(error)
        for changes in error.changes:
            for blob in changes.get("inputs", {}):
                if "unknown bottom blob" in words and (out := self._phases.makers(blob, reading)):
                    words += "".join(f"; made by '{each.name}', {list_rules(each)}" for each in out)
        return words

    def _only_scored(self, selected: NetParameter, blobs: list[str]) -> bool:
        """Return whether some of the blobs are labels: they end in scores, and no weights do."""
        flow = Flow.of(selected)
        for blob in blobs:
            readers = {i for i, each in enumerate(selected.layer) if blob in each.bottom}
            below = [selected.layer[i] for i in flow.below(readers)]
            if any(map(is_score, below)) and not any(map(self.creator.learns, below)):
                return True
        return False

    def _guess(self, blob: str, selected: NetParameter) -> Dims:
        """Return a shape for an input that has none: another phase's, or a picture's.

        None stands for what nothing tells of a picture.
        """
        for net in (selected, self.net):
            shape = stated_shapes(net, self.creator).get(blob)
            if shape:
                return (1, *shape[1:])
        readers = [layer for layer in selected.layer if blob in layer.bottom]
        if any("ROI" in each.type and blob == each.bottom[-1] for each in readers):
            return _USUAL["rois"]
        if blob in _USUAL or self._only_scored(selected, [blob]):
            return _USUAL.get(blob, (1,))
        found = channels(blob, self.net, self.creator.stored)
        return (1, found[0] if found else None, *extent(blob, self.net))


def _count(graph: Graph) -> int:
    """Return how many numbers the parameter blobs of a net have."""
    return sum(prod(blob.shape) for node in graph.nodes for blob in node.blobs)


def _doubts(graph: Graph) -> list[CaffeCompatError]:
    """Return what a net is refused with where it is computed, until a fork is named."""
    errors = (_doubt(node) for node in graph.nodes)
    return [each for each in errors if each is not None and "fork" in each.remedies]


def _doubt(node: Node) -> CaffeCompatError | None:
    """Return what a layer is refused with where it is computed, whatever its bottoms are."""
    try:
        with node.layer.named():
            node.layer.check_forward()
    except CaffeCompatError as error:
        return error
    return None


def apply(reading: Reading, changes: Changes) -> Reading:
    """Return the options with changes."""
    old = {name: getattr(reading, name) for name in changes}
    for name in ("ignore_unknown", "stages", "until", "leave_out"):
        if name in old:
            old[name] = tuple(old[name])
    return dataclasses.replace(reading, **merge(old, changes))
