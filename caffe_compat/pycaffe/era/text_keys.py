"""lmdb with keys of text, which are bytes in Python 2: `txn.put("00000001", datum)`."""

from __future__ import annotations

from typing import Any


def patch(module: Any) -> None:
    """Let lmdb take text where it wants bytes; what it returns stays bytes."""
    plain = module.open

    def environment(*args: Any, **options: Any) -> Any:
        return _Environment(plain(*args, **options))

    module.open = module.Environment = environment


class _Texts:
    """A stand-in for an object of lmdb's, which cannot be derived from.

    Args:
        target: the object.
    """

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name not in _TAKE_TEXT:
            return value
        return lambda *args, **options: value(
            *map(_bytes, args), **{key: _bytes(option) for key, option in options.items()}
        )

    def __iter__(self) -> Any:
        return iter(self._target)

    def __enter__(self) -> Any:
        self._target.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._target.__exit__(*error)


class _Environment(_Texts):
    def begin(self, *args: Any, **options: Any) -> Any:
        """Return a transaction."""
        return _Transaction(self._target.begin(*args, **options))


class _Transaction(_Texts):
    def cursor(self, *args: Any, **options: Any) -> Any:
        """Return a cursor."""
        return _Texts(self._target.cursor(*args, **options))


_TAKE_TEXT = {
    "delete", "get", "open_db", "pop", "put", "replace", "set_key", "set_key_dup", "set_range",
    "set_range_dup",
}  # fmt: skip


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value
