"""The command `caffe-compat`: one app, one subcommand for each module of its name."""

from __future__ import annotations

import importlib
import io
import shlex
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import CaffeCompatError
from ..progress import show_progress
from ..text import message as one_message
from .flags import flags_of, words_of
from .grouping import ungroup
from .terminal import bars, notes, say, unwind_on_signals

COMMANDS = {
    "convert": "Convert a Caffe net to ONNX or to PyTorch.",
    "data": "Make databases of images, and look into them.",
    "doctor": "Measure a net's signals and find what its fillers do to them.",
    "extract-features": "Run a net on its own data, and write blobs to databases.",
    "export": "Write a Triton model repository, or a web page: model, configuration, labels.",
    "fold": "Fold BatchNorm and Scale layers into the layers before them.",
    "init": "Initialise a net's weights as Caffe does.",
    "plot": "Draw loss, outputs and learning rate over iterations, from the logs of trainings.",
    "run": "Run a net on arrays or images.",
    "show": "Show a net's layers, shapes, parameters and costs, or what is in another file.",
    "test": "Score a net on the batches of its TEST phase, and log the means of its outputs.",
    "time": "Time a net's layers, forward and backward, on random inputs or its own data.",
    "train": "Train a net by its solver's prototxt, with Caffe's numbers and log.",
    "upgrade": "Rewrite a prototxt of any era in Caffe's current form.",
}
"""The first lines of the modules' help, so that `--help` needs to import none of them."""

_MAX = 16_384  # letters of a proposed command; names may have any length


class _Commands(TyperGroup):
    """Subcommands whose modules are imported when they are called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest


def load_command(name: str) -> Any:
    """Import a subcommand's module and return its command, or its group of commands."""
    module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name)(ungroup(module.command))
    return typer.main.get_command(one)


def _stub() -> None:
    """Stand for a subcommand in the list of all."""


app = typer.Typer(
    cls=_Commands,
    name="caffe-compat",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_stub)


def _show_version(wanted: bool) -> None:
    if wanted:
        package = importlib.import_module(str(__package__).rpartition(".")[0])
        say(f"caffe-compat {package.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Caffe models without Caffe: convert, initialise, run and inspect them."""


def _with_values(words: list[str]) -> list[str]:
    """Give options whose value may be left out the value that this means."""
    following = [*words[1:], "-"]
    return [
        # An --ignore-unknown without names is answered by the net's reader.
        f"{word}="
        if word == "--ignore-unknown" and after.startswith("-")
        else f"{word}=any"
        if word == "--int8"
        else word
        for word, after in zip(words, following, strict=True)
    ]


def _sentence(error: BaseException) -> str:
    """Return an error's text; of one of the system, without its number."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, CaffeCompatError):
        file = f"{error.filename}: " if error.filename is not None else ""
        return f"{file}{error.strerror}"
    return str(error)


def main() -> None:
    """Run the command line; an error is one `error:` line, and the exit status is then 1."""
    arguments = _with_values([word for word in sys.argv[1:] if word != "--debug"])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal's encoding may lack characters
            stream.reconfigure(errors="backslashreplace")
    try:
        with unwind_on_signals(), notes(), bars() as display, show_progress(display):
            app(arguments)
    except (CaffeCompatError, OSError, MemoryError) as error:
        if "--debug" in sys.argv:
            raise
        line = one_message(_sentence(error)) or type(error).__name__
        say(f"error: {line}{flags_of(error)}", err=True)
        for i, command in enumerate(_mended(arguments, error)):
            say(f"{'or' if i else 'try'}: {command}", err=True)
        sys.exit(1)


def _mended(arguments: list[str], error: BaseException) -> Iterator[str]:
    """Yield the whole command with the options that an error proposes, for each alternative."""
    for changes in getattr(error, "changes", ()):
        if None in changes.get("inputs", {}).values():  # a shape that is stated nowhere
            continue
        words = list(words_of(changes))
        known = {option for each in load_command(arguments[0]).params for option in each.opts}
        command = shlex.join(["caffe-compat", *arguments, *words])
        if {word for word in words if word.startswith("--")} <= known and len(command) <= _MAX:
            yield command
