"""The torch module of a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..errors import ShapeError
from ..net.net import Net
from ..types import Dims
from . import saving
from .names import NameMap
from .origin import Origin
from .transform import Transform


class CaffeModule(fx.GraphModule):
    """A net as a torch module, with a submodule for each layer under the layer's name.

    Called with a tensor for each input, in the net's order or by the inputs' names, it returns a
    dict of the outputs by their blobs' names, or the one output itself.
    """

    @property
    def origin(self) -> Origin:
        """The parts of the net that the module keeps."""
        origin: Origin = self.meta["caffe"]
        return origin

    @property
    def names(self) -> NameMap:
        """Caffe's names and torch's, both ways."""
        return self.origin.names

    @property
    def preprocess(self) -> Transform:
        """The transform of a picture to the net's first input that takes one."""
        return self.origin.preprocess

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Run the net.

        Raises:
            ShapeError: an input is missing, unknown or of a shape that the net does not take.
            WeightsError: a file in which parameters lie was changed.
        """
        for file in self.origin.files:
            file.check()
        inputs = self._inputs(args, kwargs)
        return super().__call__(*inputs)

    def _inputs(self, args: Sequence[Tensor], kwargs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the inputs in order, each of a shape that the net takes."""
        blobs = list(self.names.inputs.values())
        if len(args) > len(blobs):
            raise ShapeError(f"takes {len(blobs)} input(s), and was given {len(args)}")
        given = dict(zip(blobs, args, strict=False))
        for name, tensor in kwargs.items():
            blob = self.names.inputs.get(name, name)
            if blob not in blobs or blob in given:
                raise ShapeError(f"input '{name}' is unknown or given twice; they are {blobs}")
            given[blob] = tensor
        dims = {value.blob: value.dims for value in self.origin.graph.inputs}
        for blob in blobs:
            if blob not in given:
                raise ShapeError(f"input '{blob}' {_show(dims[blob])} is not given")
            _check(blob, tuple(given[blob].shape), dims[blob])
        return [given[blob] for blob in blobs]

    def total_loss(self, outputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the outputs by their loss weights: what Caffe's solver minimizes.

        Raises:
            ShapeError: no output has a loss weight.
        """
        weights = {blob: weight for blob, weight in self.origin.outputs.items() if weight}
        if not weights:
            raise ShapeError("no output of the net has a loss weight")
        if isinstance(outputs, Tensor):
            outputs = {next(iter(self.origin.outputs)): outputs}
        parts = [weight * outputs[blob].sum() for blob, weight in weights.items()]
        return torch.stack(parts).sum()

    def parameter_groups(self, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return the parameters in groups for a torch optimizer, by Caffe's multipliers.

        lr_mult and decay_mult are those of the prototxt; slopes of PReLU for which it gives no
        decay_mult have none (He et al. 2015, section 2.1).

        Args:
            lr: the learning rate of a parameter of lr_mult 1.
            weight_decay: the weight decay of a parameter of decay_mult 1.
        """
        return saving.parameter_groups(self, self.origin, lr, weight_decay)

    def to_net(self) -> Net:
        """Return the net with the parameters as they are now."""
        return saving.to_net(self, self.origin)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the graph as it is: torch would trace its code anew."""
        state = self.__dict__.copy()
        own: fx.Graph = state.pop("_graph")
        graph = fx.Graph()  # without its way back to the module
        graph.output(graph.graph_copy(own, {}))
        return _restore, (type(self).__name__, state, graph)

    def __deepcopy__(self, memo: dict[int, Any]) -> CaffeModule:
        """Copy the module, and call the copy by its name."""
        copied = super().__deepcopy__(memo)
        type(copied).__name__ = type(self).__name__
        assert isinstance(copied, CaffeModule)
        return copied


def _restore(name: str, state: dict[str, Any], graph: fx.Graph) -> CaffeModule:
    module = CaffeModule.__new__(CaffeModule)
    type(module).__name__ = name
    module.__dict__.update(state)
    module.graph = graph
    return module


def _check(blob: str, shape: tuple[int, ...], dims: Dims) -> None:
    fits = len(shape) == len(dims) and all(d in (None, n) for n, d in zip(shape, dims, strict=True))
    if not fits:
        raise ShapeError(f"input '{blob}' is {_show(dims)}, and was given {_show(shape)}")


def _show(dims: Dims) -> str:
    return "x".join("?" if n is None else str(n) for n in dims) or "one number"
