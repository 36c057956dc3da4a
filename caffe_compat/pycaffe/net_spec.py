"""`caffe.net_spec`: nets written in Python, `n.conv1 = L.Convolution(n.data, num_output=20)`.

>>> n = caffe.NetSpec()
>>> n.data = L.Input(shape=dict(dim=[1, 3, 224, 224]))
>>> n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=64)
>>> n.to_proto()  # a NetParameter; str() of it is a prototxt
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .proto import caffe_pb2

__all__ = ["Function", "Layers", "NetSpec", "Parameters", "Top", "layers", "params", "to_proto"]


def param_name_dict() -> dict[str, str]:
    """Return the field of LayerParameter for each layer type: `Convolution` -> `convolution`.

    If several fields have one message type, the oldest is BVLC's.
    """
    names: dict[str, str] = {}
    for field in sorted(caffe_pb2.LayerParameter.DESCRIPTOR.fields, key=lambda f: f.number):
        if field.name.endswith("_param") and field.message_type is not None:
            kind = field.message_type.name.removesuffix("Parameter")
            names.setdefault(kind, field.name.removesuffix("_param"))
    return names


def to_proto(*tops: Top | Function) -> Any:
    """Return a NetParameter with the layers that the tops need, named automatically."""
    net = _Net({})
    for top in tops:
        net.add(top)
    return net.proto()


def assign_proto(proto: Any, name: str, val: Any) -> None:
    """Set a field of a message from a Python value.

    A list becomes a repeated field, a dict a message; a single value for a repeated field becomes
    its only element.
    """
    field = getattr(proto, name)
    if hasattr(field, "extend") and not isinstance(val, list):
        val = [val]
    if isinstance(val, list):
        if isinstance(val[0], dict):
            for item in val:
                _assign_all(field.add(), item)
        else:
            field.extend(val)
    elif isinstance(val, dict):
        _assign_all(field, val)
    else:
        setattr(proto, name, val)


def _assign_all(proto: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        assign_proto(proto, key, value)


class Top:
    """One output of a layer.

    Attributes:
        fn: the layer.
        n: which of its outputs.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn, self.n = fn, n

    def to_proto(self) -> Any:
        """Return a NetParameter with the layers that this top needs."""
        return to_proto(self)


class Function:
    """A layer: its type, its inputs and its parameters.

    Raises:
        TypeError: an input is no Top.
    """

    def __init__(self, type_name: str, inputs: Sequence[Top], params: dict[str, Any]) -> None:
        for index, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(top)})")
        self.type_name, self.inputs, self.params = type_name, inputs, params
        self.ntop: int = params.pop("ntop", 1)
        self.in_place: bool = params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def message(self, bottoms: Sequence[str], tops: Sequence[str], name: str) -> Any:
        """Return the LayerParameter, its blobs and its name given."""
        layer = caffe_pb2.LayerParameter(
            type=self.type_name, name=name, bottom=bottoms, top=bottoms if self.in_place else tops
        )
        own = _param_names.get(self.type_name)
        for key, value in self.params.items():
            if not key.endswith("param") and own is not None:
                try:
                    assign_proto(getattr(layer, f"{own}_param"), key, value)
                    continue
                except AttributeError:  # a field of the layer itself, such as loss_weight
                    pass
            assign_proto(layer, key, value)
        return layer


class _Net:
    """The layers of a net as they are collected, each behind those that it reads.

    Args:
        names: names that the caller has given to tops and layers.
    """

    def __init__(self, names: Mapping[Any, str]) -> None:
        self._names: dict[Any, str] = dict(names)
        self._counts: Counter[str] = Counter()
        self._layers: dict[Function, Any] = {}

    def add(self, item: Top | Function) -> None:
        """Add the layer of a top, or a layer without tops, and those before it."""
        fn = item.fn if isinstance(item, Top) else item
        if fn in self._layers:
            return
        for top in fn.inputs:
            self.add(top)
        bottoms = [self._layers[top.fn].top[top.n] for top in fn.inputs]
        tops = [] if fn.in_place else [self._name(top, fn) for top in fn.tops]
        if fn not in self._names and fn.tops:
            self._names[fn] = self._name(fn.tops[0], fn)
        self._layers[fn] = fn.message(bottoms, tops, self._name(fn, fn))

    def _name(self, item: Top | Function, fn: Function) -> str:
        if item not in self._names:
            self._counts[fn.type_name] += 1
            self._names[item] = f"{fn.type_name}{self._counts[fn.type_name]}"
        return self._names[item]

    def proto(self) -> Any:
        return caffe_pb2.NetParameter(layer=list(self._layers.values()))


class NetSpec:
    """A net under construction: an attribute set is a top, and its name the blob's."""

    tops: dict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for methods that are not there
            raise AttributeError(name)
        if name in _OF_SSD and name not in self.tops:
            return partial(_OF_SSD[name], self.tops)
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Any:
        return self.tops[item]

    def to_proto(self) -> Any:
        """Return the NetParameter with every layer that the attributes need."""
        net = _Net({top: name for name, top in self.tops.items()})
        for top in self.tops.values():
            net.add(top)
        return net.proto()


def _values(tops: Mapping[str, Any]) -> list[Any]:
    return list(tops.values())


def _update(tops: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> None:
    """Change parameters of the layer that makes a top."""
    fn = tops[name].fn if isinstance(tops[name], Top) else tops[name]
    fn.params.update(values)


# Methods that SSD's branch added to NetSpec; a blob of the same name comes first.
_OF_SSD: dict[str, Callable[..., Any]] = {"keys": list, "vals": _values, "update": _update}


class Layers:
    """Layer types as functions: `L.Convolution(bottom, kernel_size=3)` returns a Top.

    Parameters are those of the type's own message, or of LayerParameter; `ntop` says how many
    tops there are (0: the layer itself is returned; more than 1: a tuple), `in_place` whether
    the top is the bottom.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def layer_fn(*args: Top, **kwargs: Any) -> Any:
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer_fn


class Parameters:
    """Constants of the layers' messages: `P.Pooling.MAX`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Constants(name)


class _Constants:
    def __init__(self, name: str) -> None:
        self._message = f"{name}Parameter"

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(caffe_pb2, self._message), name)


_param_names = param_name_dict()
layers = Layers()
params = Parameters()
