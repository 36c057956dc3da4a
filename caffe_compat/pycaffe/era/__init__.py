"""The years of Caffe's scripts, 2014 to 2018: Python 2, and what packages had then.

Nothing here is loaded by `import caffe_compat.pycaffe`; `python -m caffe_compat.pycaffe` loads it
for the script that it runs.
"""

from __future__ import annotations

import sys
from types import CodeType, ModuleType
from typing import Any

from . import removed


def revive(*, python2: bool) -> None:
    """Put back what newer packages removed, as they are imported.

    Args:
        python2: also translate the modules of the script that are Python 2.
    """
    removed.restore()
    if python2:
        from . import python2 as translator

        translator.hook()


def run_script(data: bytes, path: str, *, python2: bool) -> None:
    """Run a script's bytes as `__main__`."""
    _run(_compile(data, path, python2=python2), path)


def run_source(source: str, name: str, *, python2: bool) -> None:
    """Run code as `__main__`."""
    _run(_compile(source.encode(), name, python2=python2), None)


def _compile(data: bytes, name: str, *, python2: bool) -> CodeType:
    if python2:
        from . import python2 as translator

        return translator.compile_source(data, name)
    return compile(data, name, "exec", dont_inherit=True)


def _run(code: CodeType, path: str | None) -> None:
    """Execute code in a new module `__main__`, which stays, as multiprocessing needs it."""
    module = ModuleType("__main__")
    values: dict[str, Any] = {"__file__": path, "__builtins__": __builtins__}
    module.__dict__.update({key: value for key, value in values.items() if value is not None})
    sys.modules["__main__"] = module
    exec(code, module.__dict__)
