"""Caffe's BatchNorm as a subclass of torch's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """torch's BatchNorm over any axes behind the channels, with averages that move as Caffe's do.

    Caffe stores weighted sums and the sum of their weights, `factor`. So of n batches the last one
    weighs 1 / (1 + fraction + ... + fraction^(n-1)), where torch's momentum starts from 0 and 1.

    Attributes:
        running_mean: the average of the batches' means, (channels,).
        running_var: the average of their variances.
        factor: the sum of the weights, (1,); 0 of averages that never moved.
        fraction: Caffe's moving_average_fraction.
        stored: whether the averages normalize: True in train() too, False not in eval() either,
            None in eval() alone.
    """

    running_mean: Tensor
    running_var: Tensor
    factor: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float,
        fraction: float,
        stored: bool | None = None,
    ) -> None:
        super().__init__(num_features, eps, affine=False)
        self.fraction, self.stored = fraction, stored
        self.num_batches_tracked = None
        self.register_buffer("factor", torch.zeros(1))
        # The version of `factor` that was read, and its number.
        self._weight = (-1, 0.0)

    def forward(
        self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Normalize, and with a weight and a bias for each channel scale and shift."""
        stored = not self.training if self.stored is None else self.stored
        if stored:
            mean, variance = self.running_mean, self.running_var
            return F.batch_norm(x, mean, variance, weight, bias, eps=self.eps)
        moving = self.training and x.numel() > x.shape[1]
        if self.training and not moving:
            self._move(x)
        return torch.batch_norm(
            x,
            weight,
            bias,
            self.running_mean if moving else None,
            self.running_var if moving else None,
            True,
            1 / self._add_batch() if moving else 0.0,
            self.eps,
            torch.backends.cudnn.enabled,
        )

    def _move(self, x: Tensor) -> None:
        """Move the averages by one number a channel, of which torch has no variance."""
        momentum = 1 / self._add_batch()
        with torch.no_grad():
            self.running_mean.lerp_(x.flatten().to(self.running_mean), momentum)
            self.running_var.mul_(1 - momentum)

    def _add_batch(self) -> float:
        """Return the sum of the weights with one batch more, and keep it."""
        if self.factor._version != self._weight[0]:
            self._weight = (self.factor._version, float(self.factor))
        weight = self.fraction * self._weight[1] + 1
        with torch.no_grad():
            self.factor.fill_(weight)
        self._weight = (self.factor._version, weight)
        return weight

    def extra_repr(self) -> str:
        """Show what differs from torch's defaults."""
        stored = "" if self.stored is None else f", stored={self.stored}"
        numbers = f"eps={self.eps:g}, fraction={self.fraction:g}"
        return f"{self.num_features}, {numbers}{stored}"

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of axes."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Leave out what torch adds to files of its early versions: a count of batches."""
        nn.Module._load_from_state_dict(self, *args, **kwargs)
