"""Pictures as inputs of a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CaffeCompatError, ShapeError
from ..net.preprocess import PRESETS, Preprocess
from ..types import Dims, Picture


@dataclass(frozen=True)
class Transform:
    """A transform of a picture to a net's input, as `torchvision.transforms` are.

    Attributes:
        steps: the size, the order of the channels, the mean and the scale; None where neither the
            prototxt nor the caller gives them.
        dims: the net's input, (N, C, H, W).
    """

    steps: Preprocess | None
    dims: Dims

    def __call__(self, picture: Any) -> Tensor:
        """Return a picture as the net's input without its batch axis, (C, H, W).

        Args:
            picture: a PIL image of any mode, or an array: RGB, height x width x 3, or grey, height
                x width; uint8.

        Raises:
            ShapeError: it is no picture, or the net's input is none.
            CaffeCompatError: the steps are not known.
        """
        if self.steps is None:
            raise CaffeCompatError(
                "the prototxt has no transform_param, so what the net was trained on is unknown; "
                f"give preprocess=Preprocess(...), or one of {', '.join(PRESETS)}",
                remedies=("preprocess",),
            )
        return torch.from_numpy(self.steps(_array(picture), self.dims))


def _array(picture: Any) -> Picture:
    if hasattr(picture, "convert"):  # PIL's
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        shape = "x".join(map(str, array.shape))
        raise ShapeError(
            f"a picture is height x width x 3 of uint8, and this is {shape} of {array.dtype}"
        )
    return array
