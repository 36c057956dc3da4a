"""Caffe's layers as torch modules where an ONNX operator is not all that a layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..layers.layer import Layer
from ..types import Array
from .drawing import Drawing


class Dropout(nn.Dropout, Drawing):
    """torch's Dropout, which can take its mask from Caffe's stream.

    Attributes:
        samples: whether it drops in evaluation too.
    """

    def __init__(self, layer: Layer, ratio: float, *, samples: bool = False) -> None:
        super().__init__(ratio)
        self._layer, self.samples = layer, samples

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training, or always, and scale what stays."""
        drops = self.training or self.samples
        if drops and (self.stream or self.numbers):
            mask = self.draw(self._layer, [tuple(x.shape)], x)["mask"]
            return x * (mask / (1 - self.p))
        return F.dropout(x, self.p, training=drops)


class SampledDropout(nn.Dropout):
    """Dropout that drops in evaluation too; what stands for it in a file of source."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop, and scale what stays."""
        return F.dropout(x, self.p, training=True)


class CaffeLayer(nn.Module, Drawing):
    """A layer that differs in training, has Caffe's own gradient, or runs in numpy.

    Its blobs have Caffe's names and shapes: parameters, and buffers where training computes them.

    Attributes:
        in_test: returns the tops for the bottoms and the blobs, in TEST.
        in_train: likewise in TRAIN, for the bottoms, the blobs and the numbers drawn.
        states: what the last pass in TRAIN leaves to the next (LSTM), by name.
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        forms: Mapping[str, nn.Module],
        blobs: Mapping[str, Tensor],
    ) -> None:
        """Take the layer and its form in each phase."""
        super().__init__()
        self._layers, self._blobs = dict(layers), tuple(blobs)
        self.in_test, self.in_train = forms["TEST"], forms["TRAIN"]
        self.states: dict[str, Array] = {}
        for name, blob in blobs.items():
            if isinstance(blob, nn.Parameter):
                self.register_parameter(name, blob)
            else:
                self.register_buffer(name, blob)

    def forward(self, *bottoms: Tensor) -> Any:
        """Return the tops, a tuple of them if there are several."""
        layer = self._layers["TRAIN" if self.training else "TEST"]
        form = self.in_train if self.training else self.in_test
        blobs = self.blobs()
        shapes = [tuple(x.shape) for x in bottoms]
        live = self.training or self.numbers is not None
        numbers = self.draw(layer, shapes, bottoms[0]) if live and bottoms else {}
        tensors = (*bottoms, *blobs.values(), *numbers.values())
        names = (*blobs, *numbers)
        if isinstance(form, NumpyForm):
            form.names = names
        own = layer.approximate or isinstance(form, NumpyForm)
        if own and torch.is_grad_enabled():
            tops = _CaffeGradient.apply(layer, form, names, *tensors)
        else:
            tops = form(*tensors)
        if live and type(layer).update is not Layer.update:
            self._update(layer, names, tensors)
        return tops

    def blobs(self) -> dict[str, Tensor]:
        """Return the blobs by their names, in the order in which the forms take them."""
        return {name: getattr(self, name) for name in self._blobs}

    @property
    def differs(self) -> bool:
        """Whether TRAIN computes something else than TEST."""
        return not isinstance(self.in_train, fx.GraphModule) or (
            self.in_test.code != self.in_train.code
        )

    def _update(self, layer: Layer, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        """Change the blobs that a forward pass changes, and keep the state of the next one."""
        arrays, named = _arrays(tensors, names)
        for name, value in layer.update(*arrays, **named).items():
            if name not in self._blobs:
                self.states[name] = value
                continue
            blob = getattr(self, name)
            # As in Caffe, the gradient of this pass reads what the pass leaves: `data` lets it.
            blob.data.copy_(torch.from_numpy(value).reshape(blob.shape))

    def extra_repr(self) -> str:
        """Show the layer's type."""
        return str(self._layers["TEST"].proto.type)


class NumpyForm(nn.Module):
    """A layer's forward pass in numpy, on the CPU on whatever device its tensors are.

    Attributes:
        names: of the tensors behind the bottoms: the blobs and the numbers drawn.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self._layer, self.names = layer, tuple[str, ...]()

    def forward(self, *tensors: Tensor) -> Any:
        """Return the tops for the bottoms, the blobs and the numbers drawn."""
        arrays, named = _arrays(tensors, self.names)
        with self._layer.named():
            tops = self._layer.forward(*arrays, **named)
        tops = tops if isinstance(tops, tuple) else (tops,)
        results = tuple(_tensor(top, tensors[0]) for top in tops)
        return results[0] if len(results) == 1 else results


class Refused(nn.Module):
    """A layer in a phase in which neither torch nor numpy can compute it.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason

    def forward(self, *tensors: Tensor) -> Any:
        """Raise the reason."""
        raise self.reason


class _CaffeGradient(torch.autograd.Function):
    """A layer with the gradient that numpy's backward pass has."""

    @staticmethod
    def forward(
        ctx: Any, layer: Layer, form: nn.Module, names: Sequence[str], *tensors: Tensor
    ) -> Any:
        ctx.layer, ctx.names = layer, names
        ctx.save_for_backward(*tensors)
        return form(*tensors)

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> Any:
        tensors = ctx.saved_tensors
        arrays, named = _arrays(tensors, ctx.names)
        grads = tuple(_array(dy) for dy in dys)
        with ctx.layer.named():
            flows = ctx.layer.backward(grads[0] if len(grads) == 1 else grads, *arrays, **named)
        flows = flows if isinstance(flows, tuple) else (flows,)
        flows += (None,) * (len(tensors) - len(flows))
        back = (
            None if flow is None else _tensor(flow, like).reshape(like.shape)
            for flow, like in zip(flows, tensors, strict=True)
        )
        return None, None, None, *back


def _array(tensor: Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _arrays(
    tensors: Sequence[Tensor], names: Sequence[str]
) -> tuple[list[Array], dict[str, Array]]:
    """Return the bottoms, and the rest by name."""
    arrays = [_array(tensor) for tensor in tensors]
    count = len(arrays) - len(names)
    return arrays[:count], dict(zip(names, arrays[count:], strict=True))


def _tensor(array: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32)).to(like.device, like.dtype)
