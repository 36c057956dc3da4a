"""What would mend a refusal: every obstacle at once, and arguments with which the net is built.

Errors propose changes of the arguments; these are tried, one after the other, until the net is
built, so that what is proposed in the end is known to work.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from .assumption import Assumption, Note
from .caffe_pb2 import NetParameter
from .errors import CaffeCompatError, Changes, merge
from .net.creation import Creator
from .net.feeding import source_shapes
from .net.graph import Graph, Node
from .net.pictures import LIKELY, channels, data_sets, extent, filled
from .net.roles import is_score
from .options import Reading
from .phases import Phases, list_rules
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
    _assumption: Assumption = field(init=False)
    _left: int = field(default=0, init=False)
    _met: list[CaffeCompatError] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._phases = Phases(self.net)
        self._assumption = Assumption(self.net, self.creator)
        # A stranger's net may have a million layers.
        self._left = max(_DEPTH, min(_TRIALS, _MOST // max(1, len(self.net.layer))))

    def assume(self, error: CaffeCompatError, reading: Reading) -> tuple[Graph, Left]:
        """Build the net under the assumptions that `assumption` makes, and log what they are.

        Args:
            error: what the net was refused with.
            reading: the options that it was refused under.

        Raises:
            CaffeCompatError: that does not build it; with all that stands in the way.
        """
        notes: dict[str, Note] = {}
        first = error, reading
        while True:
            changes, told = self._assumption.of(error, reading)
            if not told.keys() - notes.keys():
                break
            notes |= told
            reading = apply(reading, changes)
            try:
                built = self.walk(reading)
            except CaffeCompatError as following:
                error = following
            else:
                _report(notes)
                return built
        if any(note.settles for note in notes.values()):  # what is assumed may be what is wrong
            error, reading = first
        explained = self.explain(error, reading)
        if notes and not explained.changes:
            error, reading = first
            explained = self.explain(error, reading)
        sizes, told = self._assumption.fitted(explained)
        if not told:
            raise explained from error
        built = self.walk(apply(reading, sizes))
        _report(told)
        return built

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
                scored = any(dead) or self._assumption.labels(blobs, selected)
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

    def _guess(self, blob: str, selected: NetParameter) -> Dims:
        """Return a shape for an input that has none: another phase's, or a picture's.

        None stands for what nothing tells of a picture.
        """
        for net in (selected, self.net):
            shape = source_shapes(net, self.creator).get(blob)
            if shape:
                return (1, *shape[1:])
        readers = [layer for layer in selected.layer if blob in layer.bottom]
        if any("ROI" in each.type and blob == each.bottom[-1] for each in readers):
            return _USUAL["rois"]
        if blob in _USUAL or self._assumption.labels([blob], selected):
            return _USUAL.get(blob, (1,))
        found = channels(blob, self.net, self.creator.stored)
        return (1, found[0] if found else None, *extent(blob, self.net))


def _report(notes: Mapping[str, Note]) -> None:
    for note in notes.values():
        log.info("%s", note.text, extra={"proposal": note.proposal})


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
