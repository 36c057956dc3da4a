"""One line that says what to do about an error that tells a script's age."""

from __future__ import annotations

import re

_FLAG = "this is Python 2; run it as: python -m caffe_compat.pycaffe --py2 SCRIPT"

_NAMES = {
    "xrange", "unicode", "raw_input", "unichr", "basestring", "long", "file", "reduce", "cmp",
    "execfile", "reload", "apply", "buffer", "intern", "coerce",
}  # fmt: skip
_MODULES = {
    "cPickle", "ConfigParser", "urllib2", "urlparse", "Queue", "StringIO", "cStringIO",
    "__builtin__", "Tkinter", "HTMLParser", "httplib", "commands", "thread", "exceptions",
    "SocketServer", "BaseHTTPServer", "tkFileDialog", "sets", "md5",
}  # fmt: skip
_METHODS = {"iteritems", "itervalues", "iterkeys", "has_key", "sort", "next"}
# What a view of a dict, or `/` of two whole numbers, is not in Python 3.
_OLD_VALUES = re.compile(
    r"'o?dict_\w+' object|^slice indices must be integers|^only integers, slices"
    r"|'float' object cannot be interpreted as an integer|^list indices must be integers.*float"
)
_REPLACED = {
    "tostring": "ndarray.tostring() is called tobytes() since numpy 1.9; --py2 puts it back",
    "getchildren": "ElementTree's getchildren() is list(element) since Python 3.9",
    "decode": _FLAG,
}


def for_error(error: BaseException, *, python2: bool) -> str:
    """Return the line, or nothing where the error says enough itself.

    Args:
        error: what ended the script.
        python2: whether the script is run as Python 2 already.
    """
    replaced = _replacement(error)
    if replaced and not (python2 and replaced == _FLAG):
        return replaced
    return "" if python2 or not _is_python2(error) else _FLAG


def _replacement(error: BaseException) -> str:
    found = re.search(r"has no attribute '(\w+)'", str(error))
    if isinstance(error, AttributeError) and found:
        return _REPLACED.get(found[1], "")
    return ""


def _is_python2(error: BaseException) -> bool:
    if isinstance(error, SyntaxError):
        return _is_old_syntax(error)
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").partition(".")[0] in _MODULES
    if isinstance(error, NameError):
        return getattr(error, "name", "") in _NAMES
    if isinstance(error, AttributeError):
        found = re.search(r"has no attribute '(\w+)'", str(error))
        return bool(found) and found is not None and found[1] in _METHODS
    return isinstance(error, (TypeError, IndexError)) and bool(_OLD_VALUES.search(str(error)))


def _is_old_syntax(error: SyntaxError) -> bool:
    """Return whether the line is one that Python 2 takes: print, except, exec, octal, tabs."""
    if isinstance(error, TabError):
        return True
    text = f"{error.msg} {error.text or ''}"
    return bool(
        re.search(
            r"\bprint\b|\bexec\b|multiple exception types|<>|\b0\d+\b|`|\bur?'|\d[lL]\b", text
        )
        or re.search(r"raise \w+\s*,", text)
    )
