"""BatchNorm in training, as Caffe stores it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.families.batch_norm import BatchNorm
from ..layers.layer import Layer


class MovingSums(nn.Module):
    """BatchNorm whose buffers are Caffe's three blobs: weighted sums, and the sum of the weights.

    Args:
        layer: the layer in its phase.
        blobs: the sums of means and of variances, (channels,), and of the weights, (1,).

    Attributes:
        moves: whether a pass changes them.
    """

    mean: Tensor
    variance: Tensor
    factor: Tensor

    def __init__(self, layer: Layer, blobs: Sequence[Tensor]) -> None:
        super().__init__()
        assert isinstance(layer, BatchNorm)
        self._stored, self._eps = layer.stored, float(layer.p.eps)
        self._fraction = float(layer.p.moving_average_fraction)
        self.moves = True
        for name, blob in zip(("mean", "variance", "factor"), blobs, strict=True):
            self.register_buffer(name, blob)

    def forward(
        self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Normalize, and with a weight and a bias for each channel scale and shift."""
        if self._stored:
            rate = torch.where(self.factor == 0, 0.0, 1 / self.factor)
            mean, variance = self.mean * rate, self.variance * rate
            return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=self._eps)
        mean, variance = torch.zeros_like(self.mean), torch.zeros_like(self.variance)
        several = x.numel() > x.shape[1]
        fast = torch.backends.cudnn.enabled
        moments = (mean, variance) if several else (None, None)
        # With a momentum of 1 torch's averages are the moments of the batch.
        y = torch.batch_norm(x, weight, bias, *moments, True, 1.0, self._eps, fast)  # type: ignore[call-arg]
        if self.moves:
            mean = mean if several else x.detach().reshape(-1).to(mean)
            for sums, moment in ((self.mean, mean), (self.variance, variance), (self.factor, 1.0)):
                sums.mul_(self._fraction).add_(moment)
        return y
