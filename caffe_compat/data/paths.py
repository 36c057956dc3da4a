"""The places of the files that a prototxt names."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import ParseError

log = logging.getLogger("caffe_compat")


@dataclass(frozen=True)
class Paths:
    """How relative paths are looked up.

    Attributes:
        folders: where, one after another; commonly the current folder, as in Caffe, and then the
            prototxt's.
    """

    folders: tuple[Path, ...] = (Path(),)

    def find(self, path: str, field: str) -> Path:
        """Return the file or folder that a field names.

        Raises:
            ParseError: there is none, with the places that were looked at.
        """
        if not path:
            raise ParseError(f"gives no {field}")
        if "\0" in path:
            raise ParseError(f"{field} {path!r}: a null character in it")
        tried = self._places(path)
        for place in tried:
            if place.exists():
                if place != tried[0]:
                    log.info("%s '%s' is %s", field, path, place)
                return place
        places = ", ".join(str(place.parent.resolve()) for place in tried)
        raise ParseError(f"{field} '{path}': no such file or folder (looked in {places})")

    def join(self, path: str) -> Path:
        """Return where a file of a list lies: the first place that exists, else the first."""
        tried = self._places(path)
        return next((place for place in tried if os.path.exists(place)), tried[0])  # noqa: PTH110

    def absolute(self) -> Paths:
        """Return the same for a process whose current folder is another."""
        return Paths(tuple(folder.absolute() for folder in self.folders))

    def _places(self, path: str) -> list[Path]:
        return list(dict.fromkeys(folder / path for folder in self.folders))
