"""Additions to a live Caffe: a Python layer, and fillers for a net that is built.

    layer {
      name: "relu1" type: "Python" bottom: "conv1" top: "conv1"
      param { decay_mult: 0 }
      python_param {
        module: "caffe_compat.plugin" layer: "PReLULayer"
        param_str: "channel_shared: false, filler: {type: constant, value: 0.25}"
      }
    }

Caffe must have been built WITH_PYTHON_LAYER. This module needs numpy and protobuf only; its
messages coexist with pycaffe's own, under another name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from google.protobuf import text_format

from .caffe_pb2 import TEST, TRAIN, FillerParameter, LayerParameter, NetParameter, PythonParameter
from .errors import CaffeCompatError, ShapeError, UnsupportedError, WeightsError
from .fillers.rng import BoostRng, make_rng
from .layers.families import plugin as layers
from .layers.layer import Layer
from .layers.naming import named
from .layers.registry import find, registry
from .net import build, graph
from .net.params import fill as draw
from .net.slopes import apply, resolve
from .prototxt import reader, upgrade
from .prototxt.phase import select
from .types import Array, Shape

if TYPE_CHECKING:

    class _LiveLayer:
        """The attributes that Caffe gives a Python layer."""

        blobs: Any
        param_str: str

else:
    try:
        from caffe import Layer as _LiveLayer
    except ImportError:  # without Caffe the caller provides its attributes
        _LiveLayer = object


class PReLULayer(_LiveLayer):
    """Caffe's PReLU as a Python layer, its slopes a parameter blob that the solver trains.

    `param_str` takes PReLUParameter's fields, `channel_shared` and `filler` (0.25 everywhere by
    default), and `seed`, that of a random filler.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """Fill the slopes, unless they came with the prototxt.

        Raises:
            ParseError: `param_str` cannot be read.
            ShapeError: there is not one bottom and one top, of 2 to 4 axes, or the slopes do not
                fit it.
        """
        with _named():
            if (len(bottom), len(top)) != (1, 1):
                raise ShapeError(f"takes one bottom and one top, and has {len(bottom)}, {len(top)}")
            proto = LayerParameter(python_param=PythonParameter(param_str=self.param_str))
            self._layer = layers.PReLULayer(proto)
            shape = bottom[0].data.shape
            (slope,) = self._layer.blobs(shape)
            self._shape = slope.shape
            if not len(self.blobs):
                (values,) = self._layer.fill(BoostRng(self._layer.seed), shape)
                self.blobs.add_blob(*slope.shape)
                self.blobs[0].data[...] = values
            elif len(self.blobs) != 1 or self.blobs[0].data.size != prod(slope.shape):
                shapes = [tuple(blob.data.shape) for blob in self.blobs]
                raise ShapeError(f"has the blobs {shapes} instead of one of {slope.shape}")

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """Give the top the bottom's shape."""
        shape = bottom[0].data.shape
        with _named():
            (slope,) = self._layer.blobs(shape)
            if slope.shape != self._shape:
                raise ShapeError(f"the bottom is {shape} now, and the slopes are {self._shape}")
        top[0].reshape(*shape)

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """Compute the top."""
        x, y = bottom[0].data, top[0].data
        self._input = x.copy() if x.ctypes.data == y.ctypes.data else None  # for backward
        y[...] = self._layer.forward(x, self._slope())

    def backward(
        self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]
    ) -> None:
        """Add to the slopes' gradient, and compute the bottom's gradient."""
        x = bottom[0].data if self._input is None else self._input
        dx, dslope = self._layer.backward(top[0].diff, x, self._slope())
        diff = self.blobs[0].diff
        np.add(diff, dslope.reshape(diff.shape), out=diff)  # Caffe sums over iter_size passes
        if propagate_down[0]:
            bottom[0].diff[...] = dx

    def _slope(self) -> Array:
        slope: Array = self.blobs[0].data.reshape(self._shape)
        return slope


@contextmanager
def _named() -> Iterator[None]:
    """Put the class in front of errors, since Caffe does not give a Python layer its name."""
    try:
        yield
    except CaffeCompatError as error:
        raise error.within("PReLULayer") from error


class Filled(NamedTuple):
    """A parameter blob that `fill` filled.

    Attributes:
        layer: the layer's name.
        place: the blob's index in the layer.
        shape: the blob's.
        filler: the filler, as `type: "msra" a: 0.25`; empty for zeros without a filler.
    """

    layer: str
    place: int
    shape: Shape
    filler: str


def fill(
    net: Any,
    prototxt: str | Path,
    seed: int = 1701,
    slopes: Literal["auto"] | None = "auto",
    *,
    rng: str = "boost-1.64",
    phase: Literal["TRAIN", "TEST"] = "TRAIN",
    level: int = 0,
    stages: Iterable[str] = (),
) -> list[Filled]:
    """Fill a live net's parameters again, in place.

    Args:
        net: a `caffe.Net`, such as `solver.net`; anything with `params[name][i].data`. Its
            `blobs`, if any, give the shapes that the prototxt leaves open.
        prototxt: the file that it was built from; here weight fillers may have `a`, unknown to
            Caffe.
        seed: of the random numbers. With `slopes=None` and no `a`, the weights are those of a
            net that Caffe builds after `caffe.set_random_seed(seed)`.
        slopes: "auto" finds the slope of every msra filler in the net itself, as
            `caffe_compat.load` does; None takes `a` as written.
        rng: whose random numbers, as for `caffe_compat.load`.
        phase: the phase that the net was built for.
        level: its level.
        stages: its stages.

    Returns:
        The filled blobs, in the order of the layers; a shared blob once.

    Raises:
        WeightsError: the net's parameters are not those of the prototxt; nothing was changed.
        CaffeCompatError: the prototxt cannot be read, or is refused.
    """
    number = {"TEST": TEST, "TRAIN": TRAIN}[phase]
    message, _ = reader.read_net(prototxt, number)
    selected = select(upgrade.upgrade(message), number, level, tuple(stages))
    shapes = {name: tuple(blob.data.shape) for name, blob in getattr(net, "blobs", {}).items()}
    known = _without_strangers(selected, net.params, shapes)
    built = build.build(known, _inputs(known, shapes))
    if slopes == "auto":
        built = apply(built, resolve(built))
    filled = draw(built, make_rng(rng, seed))
    live = _live(net.params, built, phase)
    done = []
    for index, node in enumerate(built.nodes):
        for i, blob in enumerate(node.blobs):
            if node.owners[i] == (index, i):
                live[node.layer.name][i][...] = filled.arrays[index][i]
                done.append(Filled(node.layer.name, i, blob.shape, _say(blob.filler)))
    return done


def _without_strangers(
    selected: NetParameter, params: Mapping[str, Any], shapes: Mapping[str, Shape]
) -> NetParameter:
    """Replace Python layers that only the live net knows by inputs of their tops' shapes."""
    tops: set[str] = set()
    net = NetParameter()
    net.CopyFrom(selected)
    del net.layer[:]
    for layer in selected.layer:
        new = [top for top in layer.top if top not in tops]
        tops.update(new)
        known = layer.type != "Python" or layer.name in params or _known(layer)
        if known or not shapes.keys() >= set(new):
            net.layer.add().CopyFrom(layer)
        elif new:
            fed = net.layer.add(name=layer.name, type="Input", top=new)
            for top in new:
                fed.input_param.shape.add(dim=shapes[top])
    return net


def _inputs(net: NetParameter, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the live net's shapes of the data layers' tops."""
    fed: dict[str, Shape] = {}
    for proto in net.layer:
        layer = _known(proto)
        tops = [proto.top[i] for i in layer.feeds()] if layer else []
        fed |= {top: shapes[top] for top in tops if top in shapes}
    return fed


def _known(proto: LayerParameter) -> Layer | None:
    """Return the layer, if this package has its type; else `build` refuses it where it matters."""
    try:
        with named(proto):
            return find(proto, registry())(proto)
    except UnsupportedError:
        return None


def _say(filler: FillerParameter | None) -> str:
    """Return a filler in one line, its type first even if it is the default."""
    if filler is None:
        return ""
    message = FillerParameter(type=filler.type)
    message.MergeFrom(filler)
    return str(text_format.MessageToString(message, as_one_line=True))


def _live(params: Mapping[str, Any], built: graph.Graph, phase: str) -> dict[str, list[Array]]:
    """Return the live net's arrays by layer, checked against the prototxt's blobs."""
    counts = Counter(node.layer.name for node in built.nodes if node.blobs)
    for name, count in counts.items():
        if count > 1:
            raise WeightsError(
                f"{count} layers with parameters are named '{name}', and pycaffe "
                "gives the last one's alone"
            )
    shapes = {n.layer.name: [blob.shape for blob in n.blobs] for n in built.nodes if n.blobs}
    live = {name: [blob.data for blob in params[name]] for name in params}
    for name in [*shapes, *live]:
        ours, theirs = shapes.get(name), [tuple(array.shape) for array in live.get(name, [])]
        if ours != theirs:
            raise WeightsError(
                f"layer '{name}' has the blobs {ours or 'none'} by the prototxt in {phase}, and "
                f"{theirs or 'none'} in the net; is it the prototxt and the phase of the net?"
            )
    return live
