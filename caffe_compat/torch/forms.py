"""The form of a layer in torch: functions, a module of torch's, or a module of its own."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn

from ..caffe_pb2 import TEST, TRAIN, LayerParameter
from ..errors import UnsupportedError
from ..layers.families import batch_norm as families
from ..layers.layer import Layer
from ..net.graph import Value
from ..net.net import Net
from ..net.sharing import Place
from . import modules, pieces
from .batch_norm import BatchNorm
from .layers import CaffeLayer, Dropout, NumpyForm, Refused
from .names import identifiers
from .operators import SIZES
from .parameters import Parameters
from .pieces import Piece
from .writer import Writer, shortest

log = logging.getLogger("caffe_compat")
_PHASES = {"TEST": TEST, "TRAIN": TRAIN}


@dataclass(frozen=True)
class Form:
    """The torch form of a layer.

    Attributes:
        module: the submodule that has the layer's name, if there is one.
        piece: the nodes that stand in the net's own code, where the module is not all.
        calls: the nodes among them that are calls of the module.
        blobs: the layer's blob that each parameter and buffer of the module is.
        scales: whether the module multiplies each channel by its `scale` and may add its `bias`.
    """

    module: nn.Module | None = None
    piece: Piece | None = None
    calls: tuple[onnx.NodeProto, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    scales: bool = False


class Forms:
    """Finds the forms of a net's layers.

    Args:
        net: the net.
        in_numpy: the layers that numpy is to run, by their place in the graph.
        tensors: the memory of parameter blobs, by their owners' places.
    """

    def __init__(
        self,
        net: Net,
        in_numpy: Mapping[int, Layer] = MappingProxyType({}),
        tensors: Mapping[Place, Tensor] = MappingProxyType({}),
    ) -> None:
        self._net, self._chosen = net, in_numpy
        self._parameters = Parameters(net, tensors)
        self._in_numpy: set[int] = set()

    def find(self, index: int) -> Form:
        """Return the form of one layer.

        Raises:
            UnsupportedError: neither torch nor numpy can compute it.
        """
        if index in self._chosen:
            return self._chosen_for_numpy(index)
        layer = self._net.graph.nodes[index].layer
        layers = {"TEST": in_phase(layer, "TEST")}
        try:
            with layer.named():
                layers["TRAIN"] = in_phase(layer, "TRAIN")
        except UnsupportedError as reason:
            return self._in_test_alone(index, layers["TEST"], reason)
        kind = layers["TEST"].type
        if kind == "Dropout" and layers["TRAIN"].p.scale_train:
            ratio = shortest(layers["TRAIN"].p.dropout_ratio)
            return Form(Dropout(layers["TRAIN"], ratio, samples=layers["TEST"].samples))
        if type(layers["TEST"]) is families.BatchNorm and layers["TEST"].p.add_eps_before_sqrt:
            return self._batch_norm(index, layers)
        found = {phase: self._piece(index, layer) for phase, layer in layers.items()}
        test, train = found["TEST"], found["TRAIN"]
        if isinstance(test, Piece) and test.same(train) and not layers["TEST"].approximate:
            return self._in_code(index, test) or self._submodule(index, test)
        return self._caffe_layer(index, layers, found)

    def has_form(self, index: int) -> bool:
        """Return whether torch can compute a layer in TEST without numpy."""
        layer = in_phase(self._net.graph.nodes[index].layer, "TEST")
        special = (layer.type == "Dropout" and layer.p.scale_train) or type(
            layer
        ) is families.BatchNorm
        return special or isinstance(self._piece(index, layer), Piece)

    def _piece(self, index: int, layer: Layer) -> Piece | UnsupportedError:
        """Return the layer in ONNX, or why torch cannot say it so."""
        node = self._net.graph.nodes[index]
        try:
            piece = pieces.lower(layer, node, self._net.arrays[index])
            with layer.named():
                self._write(index, piece)
        except UnsupportedError as error:
            return error
        return piece

    def _batch_norm(self, index: int, layers: Mapping[str, Layer]) -> Form:
        """Return the form of a BatchNorm, whose averages are Caffe's sums by the third blob."""
        test, train = layers["TEST"], layers["TRAIN"]
        sums = [torch.from_numpy(np.array(array).reshape(-1)) for array in self._net.arrays[index]]
        assert isinstance(test, families.BatchNorm) and isinstance(train, families.BatchNorm)
        stored = None if test.stored != train.stored else test.stored
        eps, fraction = (shortest(n) for n in (test.p.eps, test.p.moving_average_fraction))
        module = BatchNorm(len(sums[0]), eps, fraction, stored)
        module.factor.copy_(sums[2])
        module.running_mean, module.running_var = (
            part / sums[2] if sums[2] else torch.zeros_like(part) for part in sums[:2]
        )
        return Form(module, blobs={"running_mean": 0, "running_var": 1, "factor": 2})

    def _in_code(self, index: int, piece: Piece) -> Form | None:
        """One module of torch's with what shapes its input and output, or one function."""
        module, calls, blobs = self._torch_module(index, piece)
        if _has_arrays(piece) or (module is None and (piece.params or len(piece.nodes) > 1)):
            return None
        return Form(module, piece, calls, blobs)

    def _torch_module(
        self, index: int, piece: Piece
    ) -> tuple[nn.Module | None, tuple[onnx.NodeProto, ...], dict[str, int]]:
        """Return the module of torch's with all the layer's parameters, and its nodes."""
        none: tuple[nn.Module | None, tuple[onnx.NodeProto, ...], dict[str, int]] = None, (), {}
        calls = [part for part in piece.nodes if set(part.input) & set(piece.params)]
        if not piece.params and len(piece.nodes) == 1:
            calls = list(piece.nodes)
        if not calls or any(part.input[1:] != calls[0].input[1:] for part in calls):
            return none
        bottoms = self._net.graph.nodes[index].bottoms
        dims = dict(zip(piece.bottoms, (value.dims for value in bottoms), strict=True))
        shapes = {name: shape for name, (_, shape) in piece.params.items()}
        module = modules.make(calls[0], shapes, dims.get(calls[0].input[0], ()))
        if module is None:
            return none
        blobs = {}
        for attribute, name in zip(modules.PARAMS, calls[0].input[1:], strict=False):
            blobs[attribute], _ = piece.params[name]
            wanted = getattr(module, attribute).shape
            parameter = self._parameters.get(index, blobs[attribute], tuple(wanted))
            if parameter.shape != wanted:  # another layer shares it, under another shape
                return none
            setattr(module, attribute, parameter)
        return module, tuple(calls), blobs

    def _submodule(self, index: int, piece: Piece) -> Form:
        """Return a module of its own, whose parameters have Caffe's names and shapes."""
        used = sorted({blob for blob, _ in piece.params.values()})
        names = {self._net.graph.nodes[index].blobs[blob].name: blob for blob in used}
        scales = _scales_channels(piece, self._net.graph.nodes[index].bottoms)
        return Form(self._function(index, piece, names), blobs=names, scales=scales)

    def _caffe_layer(
        self, index: int, layers: Mapping[str, Layer], found: Mapping[str, Piece | Exception]
    ) -> Form:
        """Return a layer that differs by phase, has Caffe's own gradient, or runs in numpy."""
        forms = {phase: self._in_phase(index, layers[phase], found[phase]) for phase in _PHASES}
        if isinstance(forms["TEST"], Refused):
            raise forms["TEST"].reason
        return self._with_blobs(index, layers, forms)

    def _in_test_alone(self, index: int, layer: Layer, reason: UnsupportedError) -> Form:
        """Return a layer that raises the reason for which it does not exist in TRAIN."""
        forms = {
            "TEST": self._in_phase(index, layer, self._piece(index, layer)),
            "TRAIN": Refused(reason),
        }
        return self._with_blobs(index, dict.fromkeys(_PHASES, layer), forms)

    def _chosen_for_numpy(self, index: int) -> Form:
        layer = self._chosen[index]
        forms = {phase: NumpyForm(layer) for phase in _PHASES}
        return self._with_blobs(index, dict.fromkeys(_PHASES, layer), forms)

    def _with_blobs(
        self, index: int, layers: Mapping[str, Layer], forms: Mapping[str, nn.Module]
    ) -> Form:
        node = self._net.graph.nodes[index]
        blobs: dict[str, Tensor] = {}
        for i, blob in enumerate(node.blobs):
            parameter = self._parameters.get(index, i, blob.shape)
            computed = blob.name in layers["TRAIN"].statistics
            blobs[blob.name] = parameter.detach() if computed else parameter
        module = CaffeLayer(layers, forms, blobs)
        return Form(module, blobs={blob.name: i for i, blob in enumerate(node.blobs)})

    def _in_phase(self, index: int, layer: Layer, found: Piece | Exception) -> nn.Module:
        """Return the function of a layer's bottoms, blobs and random numbers."""
        if isinstance(found, Piece):
            return self._function(index, found)
        if type(layer).forward is not Layer.forward:
            self._warn(index, found)
            return NumpyForm(layer)
        return Refused(found)

    def _warn(self, index: int, reason: Exception) -> None:
        """Name a layer that runs in numpy, once for its two phases."""
        if index not in self._in_numpy:
            log.warning("%s; it runs in numpy, on the CPU", reason)
        self._in_numpy.add(index)

    def _function(
        self, index: int, piece: Piece, own: Mapping[str, int] | None = None
    ) -> fx.GraphModule:
        name = re.sub(r"\W", "_", self._net.graph.nodes[index].layer.proto.type)
        return self._write(index, piece, own).module(piece.tops, name)

    def _write(self, index: int, piece: Piece, own: Mapping[str, int] | None = None) -> Writer:
        """Return a piece as a graph; the blobs in `own` are parameters of the module.

        Without `own` its arguments are the bottoms, all blobs, and the numbers that are drawn.
        """
        if piece.baked:
            raise UnsupportedError("its ONNX form has numbers of its parameters in it")
        node, writer = self._net.graph.nodes[index], Writer()
        blobs = [f"blob_{i}" for i in range(len(node.blobs) if own is None else 0)]
        values = (*piece.bottoms, *blobs, *piece.draws)
        labels = [value.blob for value in node.bottoms] + [blob.name for blob in node.blobs]
        names = identifiers(labels[: len(piece.bottoms) + len(blobs)] + list(piece.draws))
        for given, name in zip(values, names, strict=True):
            writer.input(given, name)
        shapes = [blob.shape for blob in node.blobs]
        for name, i in (own or {}).items():
            parameter = self._parameters.get(index, i, shapes[i])
            shapes[i] = tuple(parameter.shape)  # another one, where another layer shares it
            computed = name in node.layer.statistics
            writer.values[f"blob_{i}"] = writer.read(
                name, parameter.detach() if computed else parameter
            )
        for name, (i, shape) in piece.params.items():
            value = writer.values[f"blob_{i}"]
            writer.values[name] = value.reshape(shape) if shape != shapes[i] else value
        writer.values.update(piece.constants)
        for part in piece.nodes:
            writer.add(part)
        return writer


def in_phase(layer: Layer, phase: str) -> Layer:
    """Return the layer as it is in a phase."""
    proto = LayerParameter()
    proto.CopyFrom(layer.proto)
    proto.phase = _PHASES[phase]
    return layer.changed(proto)


def _scales_channels(piece: Piece, bottoms: Sequence[Value]) -> bool:
    """Return whether a piece multiplies each channel by a parameter and at most adds another."""
    dims = bottoms[0].dims if len(bottoms) == 1 else ()
    shape = (*dims[1:2], *(1,) * (len(dims) - 2))
    operators = [node.op_type for node in piece.nodes]
    plain = operators in (["Mul"], ["Mul", "Add"]) and len(piece.params) == len(operators)
    return plain and len(dims) > 1 and all(own == shape for _, own in piece.params.values())


def _has_arrays(piece: Piece) -> bool:
    """Return whether a node reads a constant of several values that is no size."""
    return any(
        name in piece.constants
        and piece.constants[name].ndim > 0
        and i not in SIZES.get(part.op_type, ())
        for part in piece.nodes
        for i, name in enumerate(part.input)
    )
