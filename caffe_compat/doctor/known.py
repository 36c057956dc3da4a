"""Read a net for the doctor, without an end that only a fork knows."""

from __future__ import annotations

from .. import steps
from ..caffe_pb2 import NetParameter
from ..errors import CaffeCompatError, UnsupportedError, in_file
from ..layers.families.conv import Convolution
from ..layers.families.dense import Embed, InnerProduct
from ..layers.families.recurrent import Recurrent
from ..layers.registry import find, registry
from ..net.graph import Graph
from ..options import PathLike, Reading
from ..packed import read_graph
from ..prototxt.skipped import Unknown
from ..prototxt.upgrade import upgrade
from ..weights.trained import Weights
from .finding import Finding

_WEIGHTED = (Convolution, InnerProduct, Embed, Recurrent)


def read_known(
    prototxt: PathLike, weights: Weights | None, reading: Reading
) -> tuple[Graph, tuple[Finding, ...]]:
    """Read a net; an end of unknown layers, as a fork's loss, is left away, and noted.

    Raises:
        CaffeCompatError: as for `caffe_compat.read`; layers with weights read what the unknown
            layers compute, so that they are no end.
    """
    message, unknown = steps.read(prototxt, reading)
    with in_file(prototxt):
        net = steps.select(upgrade(message), reading)
    try:
        return steps.build(net, unknown, reading, weights), ()
    except CaffeCompatError as error:
        unsupported = isinstance(error, UnsupportedError)
        dropped, types = _unknown_end(net, reading) if unsupported else ((), "")
        if not dropped:  # as every other command reads it, or says what would mend it
            return read_graph(prototxt, weights, reading), ()
    known = NetParameter()
    known.CopyFrom(net)
    del known.layer[:]
    known.layer.extend(layer for layer in net.layer if layer.name not in dropped)
    rest = tuple(skip for skip in unknown.counted if skip.layer_name not in dropped)
    graph = steps.build(known, Unknown(unknown.skipped, rest), reading, weights)
    message_ = f"examined without its end: {types} not computed; all else is as it is written"
    return graph, (Finding("unknown", "note", dropped, float(len(dropped)), message_, None),)


def _unknown_end(net: NetParameter, reading: Reading) -> tuple[tuple[str, ...], str]:
    """Return the layers from the unknown ones on, and their types; nothing if they are no end."""
    types, lost = registry(), set[str]()
    dropped, unknown = [], []
    for proto in net.layer:
        try:
            known = find(proto, types, None, None)
        except UnsupportedError:
            unknown.append(proto.type)
        else:
            if not lost & set(proto.bottom):
                continue
            if issubclass(known, _WEIGHTED):
                return (), ""
        dropped.append(proto.name)
        lost |= set(proto.top)
    named = ", ".join(dict.fromkeys(unknown))
    if not any(layer.name not in dropped and layer.bottom for layer in net.layer):
        return (), ""
    return tuple(dropped), f"{named} {'is' if len(set(unknown)) == 1 else 'are'}"
