"""Options that belong together, as one dataclass parameter of a subcommand."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

from typer.models import ParameterInfo


def ungroup(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for every field of its dataclass parameters.

    Typer is shown a signature in which the fields stand by themselves; what it parses is put
    together again for the command.
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
            info.readable = False  # of typer: not misuse; who opens the file says what is wrong

    @functools.wraps(command)
    def call(*args: Any, **given: Any) -> None:
        for name, group in groups.items():
            fields = {field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            given[name] = group(**fields)
        command(*args, **given)

    del call.__wrapped__  # typer would look behind it
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _infos(annotation: Any) -> Iterator[ParameterInfo]:
    """What an annotation tells typer."""
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
