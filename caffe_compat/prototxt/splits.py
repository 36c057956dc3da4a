"""The Split layers that Caffe inserts behind a blob with several readers (insert_splits.cpp)."""

from __future__ import annotations

from collections import Counter

from ..caffe_pb2 import LayerParameter, NetParameter
from ..errors import ParseError

_Top = tuple[int, int]  # index of a layer, index among its tops


def insert_splits(net: NetParameter) -> NetParameter:
    """Give each reader of a shared blob a copy of its own, under Caffe's names.

    A top read n > 1 times is followed by a layer '<blob>_<layer>_<top index>_split' whose tops
    '..._split_<k>' go to the readers in their order. A loss weight in the prototxt
    counts as a reader, the first. The source of a blob written in place is its last writer so far.

    Args:
        net: an upgraded net after `phase.select`; not changed.

    Raises:
        ParseError: a layer reads a blob that no layer before it has as a top.
    """
    sources, readers, losses = _connections(net)
    new = NetParameter()
    new.CopyFrom(net)
    new.ClearField("layer")
    used: Counter[_Top] = Counter()
    for i, old in enumerate(net.layer):
        layer = new.layer.add()
        layer.CopyFrom(old)
        for j, blob in enumerate(old.bottom):
            source = sources[i, j]
            if readers[source] > 1:
                split = _split_name(net, source, blob)
                layer.bottom[j] = f"{split}_{used[source]}"
                used[source] += 1
        for j, blob in enumerate(old.top):
            count, loss = readers[i, j], losses.get((i, j), 0.0)
            if count > 1:
                new.layer.append(_split_layer(_split_name(net, (i, j), blob), blob, count, loss))
                if loss:
                    layer.ClearField("loss_weight")
                    used[i, j] += 1
    return new


def _connections(
    net: NetParameter,
) -> tuple[dict[tuple[int, int], _Top], Counter[_Top], dict[_Top, float]]:
    """Return the source of each bottom, the number of readers of each top, and the loss weights."""
    writer: dict[str, _Top] = {}
    sources: dict[tuple[int, int], _Top] = {}
    readers: Counter[_Top] = Counter()
    losses: dict[_Top, float] = {}
    for i, layer in enumerate(net.layer):
        for j, blob in enumerate(layer.bottom):
            if blob not in writer:
                raise ParseError(
                    f"Unknown bottom blob '{blob}' (layer '{layer.name}', bottom index {j})"
                )
            sources[i, j] = writer[blob]
            readers[writer[blob]] += 1
        writer.update((blob, (i, j)) for j, blob in enumerate(layer.top))
        for blob, weight in zip(layer.top, layer.loss_weight, strict=False):
            losses[writer[blob]] = weight
            readers[writer[blob]] += bool(weight)
    return sources, readers, losses


def _split_name(net: NetParameter, source: _Top, blob: str) -> str:
    return f"{blob}_{net.layer[source[0]].name}_{source[1]}_split"


def _split_layer(name: str, blob: str, count: int, loss: float) -> LayerParameter:
    tops = [f"{name}_{k}" for k in range(count)]
    weights = [loss] + [0.0] * (count - 1) if loss else []
    return LayerParameter(name=name, type="Split", bottom=[blob], top=tops, loss_weight=weights)
