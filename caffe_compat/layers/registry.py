"""The layer types: register a class for one, and look up the class of a layer."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ..caffe_pb2 import TRAIN, LayerParameter
from ..errors import UnsupportedError
from ..types import Shape
from .arity import Arity
from .fields import MessageType
from .layer import Layer

log = logging.getLogger("caffe_compat")

_types: dict[str, tuple[type[Layer], ...]] = {}
built_in: dict[tuple[str, str], type[Layer]] = {}
"""The Python layers of well known repositories, by python_param's module and layer."""

_python: dict[tuple[str, str], type[Layer]] = {}
"""The caller's own Python layers, likewise."""

_L = TypeVar("_L", bound=type[Layer])


def layer(
    *also: str,
    param: str | None = None,
    message: MessageType | None = None,
    bottoms: Arity = 1,
    tops: Arity = 1,
    inplace: bool = False,
    loss: bool = False,
    fork: str | None = None,
    fields: tuple[str, ...] = (),
) -> Callable[[_L], _L]:
    """Register a Layer class under its own name, and under the further names in `also`.

    `param` may be a field that Caffe's schema lacks: `self.p` is then a mapping of what the
    prototxt has in it, a field that is given several times as a list; or a `message` of protobuf.

    With `fork` it is that fork's definition of the types in `also` alone, and with `fields` only
    where one of these fields is set.
    """

    def add(cls: _L) -> _L:
        cls.types = also if fork else (cls.__name__, *also)
        cls.type, cls.fork = cls.types[0], fork
        cls.param, cls.message, cls.fields = param, message, fields
        cls.bottoms, cls.tops = bottoms, tops
        cls.inplace, cls.loss = inplace, loss
        for name in cls.types:
            if any(other.fork == fork for other in _types.get(name, ())):
                raise ValueError(f"layer type {name} is registered twice")
        _types.update({name: (*_types.get(name, ()), cls) for name in cls.types})
        return cls

    return add


def python_layer(
    module: str, name: str, *, fork: str, bottoms: Arity = 1, tops: Arity = 1
) -> Callable[[_L], _L]:
    """Register a Layer class for the Python layers of a repository, `fork`."""

    def add(cls: _L) -> _L:
        cls.type, cls.types, cls.fork = "Python", ("Python",), fork
        cls.param, cls.bottoms, cls.tops, cls.inplace = "python_param", bottoms, tops, False
        built_in[module, name] = cls
        return cls

    return add


def register(
    *,
    module: str,
    layer: str,
    bottoms: Arity = (0, None),
    tops: Arity = (0, None),
    inplace: bool = False,
) -> Callable[[_L], _L]:
    """Register a Layer of the caller's for the Python layers of this module and class.

    It is a decorator: `@register(module="rpn.proposal_layer", layer="ProposalLayer")` above a
    subclass of Layer, which reads param_str and the rest of python_param in `self.p`. The module
    itself is never imported. A later registration replaces an earlier one.

    Args:
        module: python_param's module.
        layer: python_param's class in it.
        bottoms: the number of bottoms: one number, or (min, max or None).
        tops: likewise for tops.
        inplace: whether a top may overwrite its bottom.

    Raises:
        TypeError: the decorated class is no subclass of Layer.
    """

    def add(cls: _L) -> _L:
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            raise TypeError(f"{cls!r} is no subclass of caffe_compat.Layer")
        cls.type, cls.types = "Python", ("Python",)
        cls.param, cls.bottoms, cls.tops, cls.inplace = "python_param", bottoms, tops, inplace
        _python[module, layer] = cls
        return cls

    return add


def find(
    proto: LayerParameter,
    types: Mapping[str, Sequence[type[Layer]]],
    fork: str | None = None,
    stored: Sequence[Shape] | None = None,
) -> type[Layer]:
    """Return the class of a layer: one of `types`, or that of a Python layer, the caller's first.

    Args:
        proto: the layer.
        types: from `registry`.
        fork: the fork whose definition holds where forks differ.
        stored: the shapes of the layer's blobs in the weights file; None where there is no file.

    Raises:
        UnsupportedError: the type is unknown, or ambiguous among forks.
    """
    _check_numbers(proto)
    classes = types.get(proto.type, ())
    if proto.type == "Python":
        name = proto.python_param.module, proto.python_param.layer
        known = _python.get(name) or built_in.get(name)
        if known:
            return known
    if not classes:
        raise UnsupportedError("unknown layer type")
    classes = _stated(proto, classes)
    matches = [cls for cls in classes if fork and cls.fork == fork]
    matches = matches or [cls for cls in classes if cls.fits(proto, stored)]
    if len(matches) != 1:
        forks = "; ".join(
            f"{cls.fork}: {(cls.__doc__ or '').splitlines()[0]}" for cls in classes if cls.fork
        )
        raise UnsupportedError(
            f"differs among forks of Caffe, and neither its fields nor its blobs identify one; "
            f"name the fork (fork=...). {forks}",
            remedies=("fork",),
            changes=[{"fork": f"{proto.type}={cls.fork}"} for cls in classes if cls.fork],
        )
    return matches[0]


def _check_numbers(proto: LayerParameter) -> None:
    """Refuse a layer of quantized numbers, or log that it is computed in float32."""
    for field in ("weights_compress", "activations_compress", "compress"):
        methods = getattr(proto, field)
        if methods:
            raise UnsupportedError(
                f"{field} {methods[0]!r} quantizes numbers in every pass, by a method of its fork "
                "alone (GongCheng1919's); take the field out for the float32 net"
            )
    if proto.HasField("quantization_param"):
        log.warning("layer '%s': in float32, without its quantization_param", proto.name)
    if proto.phase == TRAIN and proto.connectivity_mode != LayerParameter.CONNECTED:
        raise UnsupportedError("connectivity_mode leaves weights at 0 in training; not supported")


def _stated(proto: LayerParameter, classes: Sequence[type[Layer]]) -> Sequence[type[Layer]]:
    """Return the definitions whose own fields the layer has, or else those that have none."""
    stated = [cls for cls in classes if cls.stated(proto)]
    return stated or [cls for cls in classes if not cls.fields]


def registry() -> dict[str, tuple[type[Layer], ...]]:
    """Return every layer type by Caffe's type string: one class, or one for each fork."""
    from . import families

    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")
    return _types
