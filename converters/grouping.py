"""Options that belong together, as one dataclass parameter of a subcommand."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import typer
from typer.models import ParameterInfo


def ungroup(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with an option for every field of its dataclass parameters.

    Typer sees a signature of all the fields; the command gets its dataclasses.
    """
    # Not get_type_hints: for a default of None Python 3.10's puts an Optional around Annotated.
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _options(groups[name]) if name in groups else [parameter]
    for parameter in parameters:
        for info in _infos(parameter.annotation):
            info.readable = False  # not typer's to check: the reader's error is the better one

    @functools.wraps(command)
    def call(*args: Any, **values: Any) -> None:
        for name, group in groups.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**fields)
        command(*args, **values)

    del call.__wrapped__  # typer would read its signature
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def refuse(group: Any, reason: str, *names: str) -> None:
    """Refuse a group's options that are given where they would do nothing.

    Args:
        group: a dataclass of options.
        reason: the rest of the sentence that begins with the option, as `is for images`.
        names: the fields to refuse; none: all.

    Raises:
        BadParameter: a field differs from its default.
    """
    hints = get_type_hints(type(group), include_extras=True)
    for field in dataclasses.fields(group):
        if (not names or field.name in names) and getattr(group, field.name) != field.default:
            raise typer.BadParameter(reason, param_hint=_option(field.name, hints[field.name]))


def _option(name: str, annotation: Any) -> str:
    """Return the first spelling of a field's option; typer takes the first one for a default."""
    info: Any = next(_infos(annotation))
    spellings = (word for word in (info.default, *info.param_decls) if isinstance(word, str))
    return next(spellings, f"--{name.replace('_', '-')}")


def _infos(annotation: Any) -> Iterator[ParameterInfo]:
    """Yield the options and arguments that an annotation declares."""
    for each in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        if isinstance(each, ParameterInfo):
            yield each
        else:
            yield from _infos(each)


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
