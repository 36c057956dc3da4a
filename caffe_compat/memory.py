"""The memory that a request would take, held against the machine's before any of it is taken.

A model of a hundred bytes may declare blobs of any size; on most systems an allocation that cannot
be met ends the process without a word.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import CaffeCompatError

_SMALL = 1 << 20
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def require(size: int, what: str) -> None:
    """Check that this much memory is available.

    Args:
        size: in bytes.
        what: the plural subject of the message, as `the parameters`.

    Raises:
        CaffeCompatError: it is not. Nothing is refused where the system does not tell.
    """
    if size < _SMALL:  # not worth the question
        return
    memory = available()
    if memory is not None and size > memory:
        raise CaffeCompatError(
            f"{what} take {size:,} bytes, and {memory:,} bytes of memory are available"
        )


def available() -> int | None:
    """Return the bytes that can be allocated, by the system or the container; None: unknown."""
    known = [free for free in (_of_system(), *map(_of_container, _CGROUPS)) if free is not None]
    return min(known, default=None)


def _of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):  # not Linux
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def _of_container(files: tuple[str, str]) -> int | None:
    """Return what a control group leaves; the files that it caches count as free."""
    try:
        limit, used = (int(Path(name).read_text()) for name in files)
        statistics = dict(
            line.split()
            for line in Path(files[0]).with_name("memory.stat").read_text().splitlines()
        )
    except (OSError, ValueError):  # no such group, or "max"
        return None
    cached = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
    return max(0, limit - used + min(cached, used))
