"""Caffe's messages under their own names, `caffe.NetParameter` and the rest.

The descriptors live in a pool of their own, since a real pycaffe in the same process registers
the same names in protobuf's default pool. Text and wire format are those of the package's own
messages: one crosses to the other by `SerializeToString` and `FromString`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

from ... import caffe_pb2 as _ours

_FILE, _PACKAGE = "caffe.proto", "caffe"


def _file() -> descriptor_pb2.FileDescriptorProto:
    """Return the package's schema, renamed to Caffe's package."""
    file = descriptor_pb2.FileDescriptorProto()
    _ours.DESCRIPTOR.CopyToProto(file)
    old = f".{file.package}."
    file.name, file.package = _FILE, _PACKAGE
    for field in _fields(file.message_type):
        if field.type_name.startswith(old):
            field.type_name = f".{_PACKAGE}.{field.type_name.removeprefix(old)}"
    return file


def _fields(messages: Iterable[Any]) -> Iterator[Any]:
    for message in messages:
        yield from message.field
        yield from _fields(message.nested_type)


def _message_class(descriptor: Any) -> Any:
    """Return the class of a message; protobuf before 4.22 has it on a factory."""
    factory: Any = message_factory
    make = getattr(factory, "GetMessageClass", None)
    return (make or factory.MessageFactory(_pool).GetPrototype)(descriptor)


_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(_file().SerializeToString())
DESCRIPTOR = _pool.FindFileByName(_FILE)

for _name, _descriptor in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = _message_class(_descriptor)
for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = enum_type_wrapper.EnumTypeWrapper(_enum)
    globals().update({value.name: value.number for value in _enum.values})


def __getattr__(name: str) -> Any:
    """Raise AttributeError; stated so that a type checker knows the names are dynamic."""
    raise AttributeError(f"module 'caffe.proto.caffe_pb2' has no attribute {name!r}")
