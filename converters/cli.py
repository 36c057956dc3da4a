"""The command `caffe-compat`: one app, one subcommand for each sibling module."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from . import convert, doctor, export, fold, init, run, show, upgrade
from .grouping import ungroup
from .terminal import bars, ending, notes, say

app = typer.Typer(
    name="caffe-compat",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (convert, doctor, export, fold, init, run, show, upgrade):
    app.command(module.__name__.rpartition(".")[2])(ungroup(module.command))

# The options that stand for arguments of the library, where an error proposes those.
FLAGS = {
    "batch": "--batch N|dynamic",
    "fork": "--fork NAME",
    "ignore_unknown": "--ignore-unknown",
    "inputs": "--input NAME=1x3x224x224",
    "mean": "--mean-file FILE",
    "resize": "--resize HxW",
    "register": "--custom PATH.py",
    "weights_as": "--weights-as external|in-place",
}
LONGEST = 16_384  # characters of an error; a stranger's model may have names of any length


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False,
) -> None:
    """Caffe models without Caffe: convert, initialise, run and look at them."""


def main() -> None:
    """Run the command line; what cannot be done becomes one `error:` line and exit status 1."""
    from caffe_compat.errors import CaffeCompatError
    from caffe_compat.progress import show_progress

    arguments = [word for word in sys.argv[1:] if word != "--debug"]  # wherever it stands
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        with ending(), notes(), bars() as watch, show_progress(watch):
            app(arguments)
    except (CaffeCompatError, OSError, MemoryError) as error:
        if "--debug" in sys.argv:
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        flags = [FLAGS[name] for name in getattr(error, "remedies", ()) if name in FLAGS]
        words += f" ({', '.join(flags)})" * bool(flags)
        say(f"error: {words[:LONGEST]}{'…' * (len(words) > LONGEST)}", err=True)
        sys.exit(1)
