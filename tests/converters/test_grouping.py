"""Dataclass parameters of a command become options, and their values dataclasses again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import pytest
import typer
from caffe_compat.converters.grouping import refuse, ungroup
from typer.testing import CliRunner


@dataclasses.dataclass(frozen=True)
class Size:
    """A group of options."""

    width: Annotated[int, typer.Option("--width", help="The width.")] = 3
    names: Annotated[list[str] | None, typer.Option("--name")] = None


@dataclasses.dataclass(frozen=True)
class Place:
    """Another one."""

    folder: Annotated[Path | None, typer.Option("--folder")] = None


calls = []


def command(
    file: Annotated[Path, typer.Argument()],
    *,
    size: Size,
    deep: Annotated[bool, typer.Option("--deep")] = False,
    place: Place,
) -> None:
    """Do nothing with options."""
    calls.append((file, size, deep, place))


def run(*arguments):
    app = typer.Typer(rich_markup_mode=None)
    app.command()(ungroup(command))
    calls.clear()
    return CliRunner().invoke(app, arguments)


def test_values_come_as_dataclasses():
    assert run("f", "--name", "a", "--name", "b", "--deep", "--folder", "d").exit_code == 0
    assert calls == [(Path("f"), Size(3, ["a", "b"]), True, Place(Path("d")))]
    assert run("f", "--width", "9").exit_code == 0
    assert calls == [(Path("f"), Size(9), False, Place())]


def test_help_has_the_options_of_all_groups():
    text = run("--help").output
    for word in ("--width", "The width.", "--name", "--deep", "--folder", "Do nothing"):
        assert word in text


def test_unreadable_files_are_the_commands_own_errors(tmp_path):
    (tmp_path / "f").touch(mode=0)
    assert run(str(tmp_path / "f")).exit_code == 0


def test_an_option_that_would_do_nothing_is_refused():
    refuse(Size(), "is for boxes")
    refuse(Size(names=["a"]), "is for boxes", "width")
    for size, hint in ((Size(4), "--width"), (Size(names=["a"]), "--name")):
        with pytest.raises(typer.BadParameter, match="is for boxes") as misuse:
            refuse(size, "is for boxes")
        assert misuse.value.param_hint == hint
