"""The choice of a preprocessing: the caller's changes over a preset or the prototxt's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..errors import CaffeCompatError
from ..net.preprocess import PRESETS, Preprocess, mean_array
from ..types import Array, Size


def choose(
    base: Preprocess | None = None,
    *,
    preset: str | None = None,
    mean: tuple[float, ...] | Array | None = None,
    mean_file: str | Path | None = None,
    scale: float | None = None,
    raw_scale: float | None = None,
    order: Literal["bgr", "rgb"] | None = None,
    resize: Size | None = None,
    crop: Size | None = None,
) -> Preprocess | None:
    """Return a preprocessing with some of its steps changed.

    Args:
        base: the prototxt's own, as `read_preprocess` returns it.
        preset: a name of `PRESETS`, which replaces `base`.
        mean: as in Preprocess, like the others; None leaves it as it is.
        mean_file: a binaryproto or .npy file with the mean image.
        scale: multiplies after the mean is subtracted.
        raw_scale: multiplies the pixels, 0 to 255, before that.
        order: the order of the net's channels.
        resize: (height, width) before the cut.
        crop: (height, width) of the middle that is cut out.

    Returns:
        The preprocessing; None if nothing tells it.

    Raises:
        CaffeCompatError: there is no such preset; both `mean` and `mean_file`; the file is
            damaged.
    """
    if preset is not None and preset not in PRESETS:
        raise CaffeCompatError(f"preset is {preset!r}; it is one of {', '.join(PRESETS)}")
    if mean is not None and mean_file is not None:
        raise CaffeCompatError("mean and mean_file exclude each other")
    steps: dict[str, Any] = {
        "mean": mean if mean_file is None else mean_array(mean_file),
        "scale": scale,
        "raw_scale": raw_scale,
        "order": order,
        "resize": resize,
        "crop": crop,
    }
    changes = {name: value for name, value in steps.items() if value is not None}
    if preset is not None:
        base = PRESETS[preset]
    if base is None and not changes:
        return None
    return replace(base or Preprocess(), **changes)
