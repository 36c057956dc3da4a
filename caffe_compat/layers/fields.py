"""The fields that configure a layer: a message of the schema, one of its own, or a mapping."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message

from ..caffe_pb2 import LayerParameter
from ..errors import ShapeError
from ..prototxt.mapping import parse_mapping
from ..prototxt.parser import parse

MessageType: TypeAlias = type[Message]


def is_set(param: Message, field: str) -> bool:
    """Return whether a field of a message is set to other than its default."""
    descriptor = param.DESCRIPTOR.fields_by_name[field]
    if descriptor.message_type is not None and not isinstance(getattr(param, field), Sequence):
        return bool(param.HasField(field))
    return bool(getattr(param, field) != descriptor.default_value)


def configuration(proto: LayerParameter, field: str, message: MessageType | None) -> Any:
    """Return the field that configures a layer; of a caller's own layer what its text has."""
    if field in LayerParameter.DESCRIPTOR.fields_by_name:
        return getattr(proto, field)
    if message is None:
        return parse_mapping(proto.custom_param, proto.name).get(field, {})
    inner = re.sub(r"^\w+\s*:?\s*[{<]|[}>]$", "", proto.custom_param)
    return parse(inner, message, proto.name)


def check_numbers(param: Message, name: str) -> None:
    """Raise ShapeError for NaN, whose effect in Caffe depends on its linear algebra library."""
    for field, value in param.ListFields():
        if isinstance(value, Message):
            check_numbers(value, f"{name}.{field.name}")
        elif field.cpp_type == field.CPPTYPE_FLOAT and np.isnan(value).any():
            raise ShapeError(f"{name}.{field.name} is nan")
