"""Run a script that was written for a real pycaffe.

python -m caffe_compat.pycaffe [--py2] [--fork NAME] (script.py | -m module | -c code) [args]
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CaffeCompatError, ParseError
from ..files import read_bytes
from . import era, mode
from .era import hints
from .install import OPTIONS, install

_USAGE = (__doc__ or "").strip()
_MOST_SCRIPT = 1 << 26  # bytes


def main(arguments: list[str]) -> int:
    """Run what the arguments name, as Python itself would; return the exit status.

    Raises:
        SystemExit: the script's own.
    """
    python2, fork, rest = False, None, list(arguments)
    while rest and rest[0].startswith("--"):
        option = rest.pop(0)
        if option == "--py2":
            python2 = True
        elif option == "--fork" and rest:
            fork = rest.pop(0)
        else:
            print(_USAGE, file=sys.stderr if option != "--help" else sys.stdout)
            return 0 if option == "--help" else 2
    if not rest or (rest[0] in ("-m", "-c") and len(rest) < 2):
        print(_USAGE, file=sys.stderr)  # noqa: T201
        return 2
    try:
        target = _target(rest, python2=python2)
    except ParseError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    install()
    mode.use_fork(fork)
    os.environ[OPTIONS] = "py2" if python2 else "py3"
    era.revive(python2=python2)
    return _run(target, python2=python2)


def _target(rest: list[str], *, python2: bool) -> Callable[[], Any]:
    """Set sys.argv and sys.path as Python does, and return what runs the script.

    Raises:
        ParseError: the script cannot be read.
    """
    kind = rest.pop(0) if rest[0] in ("-m", "-c") else ""
    what = rest[0]
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = rest
        return lambda: runpy.run_module(what, run_name="__main__", alter_sys=True)
    if kind == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *rest[1:]]
        source, name = what, "<string>"
        return lambda: era.run_source(source, name, python2=python2)
    script = read_bytes(what, _MOST_SCRIPT)
    sys.argv = rest
    sys.path[0] = str(Path(what).resolve().parent)
    return lambda: era.run_script(script, what, python2=python2)


def _run(target: Callable[[], Any], *, python2: bool) -> int:
    try:
        target()
    except SystemExit:
        raise
    except CaffeCompatError as error:
        _print_traceback(error)
        return 1
    except Exception as error:
        _print_traceback(error)
        hint = hints.for_error(error, python2=python2)
        if hint:
            print(hint, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _print_traceback(error: BaseException) -> None:
    """Print a traceback that begins in the script; none where no script was found or compiled."""
    own = (str(Path(__file__).parent), "<frozen runpy>", runpy.__file__)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(own):
        trace = trace.tb_next
    if trace is None and not isinstance(error, (ImportError, SyntaxError)):
        trace = error.__traceback__
    traceback.print_exception(type(error), error, trace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
