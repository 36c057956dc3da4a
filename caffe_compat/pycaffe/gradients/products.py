"""Products of matrices on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def fast_product() -> Callable[[Any, Any], Any]:
    """Return a function of two matrices of PyTorch's.

    PyTorch's own product is MKL's, which is half as fast as oneDNN's on AMD's processors; PyTorch
    has the latter for its compiler only.
    """
    import torch

    def product(a: Any, b: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")

    a = torch.arange(6.0).reshape(2, 3)
    try:
        same = bool(torch.equal(product(a, a.T), a @ a.T))
    except (AttributeError, RuntimeError):  # another version's, or a build without oneDNN
        same = False
    return product if same else torch.mm
