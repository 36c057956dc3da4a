"""Several layers of a live net as one ONNX model, whose weights are inputs and blobs outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ..errors import UnsupportedError
from ..layers.builder import Builder
from ..onnx.lowering import Lowered
from ..onnx.opsets import OPSET
from ..onnx.passes.batchnorm import fuse_scales
from ..onnx.passes.cpu import tune
from ..onnx.rewriting import Rewriter, rewrite
from ..types import AnyArray, Array, Shape
from .blob import Blob, memories, shape_of
from .overwritten import keeps_bottom
from .steps import Computed, Step

_IR_VERSION = 8


class _Builder(Builder):
    """A builder that records what a lowering computes of the parameters' values."""

    def __init__(self) -> None:
        super().__init__(OPSET)
        self.read: set[str] = set()
        self.derived: list[str] = []

    def data(self, parameter: str) -> AnyArray:
        self.read.add(parameter)
        return super().data(parameter)

    def change(self, parameter: str, array: AnyArray) -> str:
        name = super().change(parameter, array)
        self.derived.append(name)
        return name


@dataclass
class Derived:
    """Inputs that a layer's lowering computes from the values of its parameters (BatchNorm).

    Attributes:
        step: the layer.
        names: the inputs.
        arrays: their values.
        sources: the parameters, by index, as they were when the values were computed.
    """

    step: Computed
    names: list[str]
    arrays: list[AnyArray]
    sources: dict[int, Array]

    def stale(self) -> bool:
        """Return whether a parameter has changed since."""
        blobs = self.step.blobs
        return any(not np.array_equal(blobs[i].data, old) for i, old in self.sources.items())

    def renew(self) -> bool:
        """Compute the values anew, in place; return False where the model would be another."""
        g, _ = _alone(self.step)
        fresh = [np.asarray(g.arrays[name], order="C") for name in g.derived]
        if [a.shape for a in fresh] != [a.shape for a in self.arrays]:
            return False
        for array, new in zip(self.arrays, fresh, strict=True):
            array[...] = new
        self.sources = {i: self.step.blobs[i].data.copy() for i in self.sources}
        return True


@dataclass
class Part:
    """Layers as an ONNX model.

    Attributes:
        stop: the index behind the last layer in it.
        model: the model; None until it is built.
        blobs: the blobs among its inputs, by input name.
        parameters: the parameter blobs among its inputs, with the shape that the model takes.
        derived: the inputs that are computed from parameters.
        outputs: the blobs among its outputs, by output name.
        kept: layers that run in place, by the name of the output that is their bottom before.
    """

    stop: int = 0
    model: Any = None
    blobs: dict[str, Blob] = field(default_factory=dict)
    parameters: dict[str, tuple[Blob, Shape]] = field(default_factory=dict)
    derived: list[Derived] = field(default_factory=list)
    outputs: dict[str, Blob] = field(default_factory=dict)
    kept: dict[str, Computed] = field(default_factory=dict)


def lowers(step: Step) -> bool:
    """Return whether a layer can be part of a model; tried once, at the shapes that it has then."""
    if type(step) is not Computed or step.layer.varies:
        return False
    if step.lowers is None:
        try:
            _alone(step)
            step.lowers = bool(step.tops) and not step.layer.feeds()
        except UnsupportedError:
            step.lowers = False
    return step.lowers


def lower(steps: Sequence[Step], start: int, last: int) -> Part:
    """Lower the layers from `start` on, as far as one model can hold them.

    A layer that reads memory that another blob of the model has overwritten is left to the next:
    it must see the memory itself.
    """
    walk = _Walk(steps, start)
    stop = start
    while stop <= last and walk.take(steps[stop]):
        stop += 1
    return walk.part(stop)


@dataclass
class _Value:
    """A tensor that holds a blob's data, and the version of the memory that it is."""

    name: str
    version: int


class _Walk:
    def __init__(self, steps: Sequence[Step], start: int) -> None:
        self._g = _Builder()
        self._part = Part()
        self._values: dict[int, _Value] = {}  # by the blob's id
        self._versions: dict[int, int] = {}  # of memory, by its id
        self._written: dict[int, tuple[str, Blob]] = {}  # memory's last tensor, and a blob of it
        self._parameters: dict[int, str] = {}  # by the memory's id
        self._count = 0

    def take(self, step: Step) -> bool:
        """Add a layer, unless it cannot be part of the model."""
        if not lowers(step) or any(self._stale(blob) for blob in step.bottoms):
            return False
        assert isinstance(step, Computed)
        bottoms = [self._read(blob) for blob in step.bottoms]
        if step.in_place and step.need_backward and keeps_bottom(step.layer):
            self._part.kept[bottoms[0]] = step
        known = set(self._g.read)
        self._g.begin(step.proto.name or "layer")
        blobs = {name: self._parameter(step, name, blob) for name, blob in step.parameters.items()}
        before, nodes = len(self._g.derived), len(self._g.nodes)
        try:
            results = step.layer.lower(self._g, *bottoms, **blobs)
        except UnsupportedError:  # at these shapes, though not at those that it was tried at
            step.lowers = False
            del self._g.nodes[nodes:], self._g.derived[before:]
            return False
        tensors = results if isinstance(results, tuple) else (results,)
        tops = [self._write(step, i) for i in range(len(step.tops))]
        self._g.end([tensor for tensor in tensors if tensor is not None], tops)
        if self._g.read - known or len(self._g.derived) > before:
            self._derive(step, self._g.derived[before:])
        return True

    def _stale(self, blob: Blob) -> bool:
        """Return whether a blob's memory differs from the tensor that stands for it."""
        version = self._versions.get(id(memories(blob)[0]), 0)
        value = self._values.get(id(blob))
        return version != (value.version if value else 0)

    def _read(self, blob: Blob) -> str:
        if id(blob) not in self._values:
            name = self._name(blob)
            self._values[id(blob)] = _Value(name, 0)
            self._part.blobs[name] = blob
        return self._values[id(blob)].name

    def _name(self, blob: Blob) -> str:
        name = f"blob{self._count}"
        self._count += 1
        self._g.value(name, shape_of(blob))
        return name

    def _write(self, step: Computed, i: int) -> str:
        top, memory = step.tops[i], memories(step.tops[i])[0]
        version = self._versions.get(id(memory), 0)
        if not step.shares:
            version += 1
            self._versions[id(memory)] = version
        name = self._name(top)
        self._values[id(top)] = _Value(name, version)
        if not step.shares:
            self._written[id(memory)] = (name, top)
        return name

    def _parameter(self, step: Computed, name: str, blob: Blob) -> str:
        key = id(memories(blob)[0])
        if key not in self._parameters:
            self._parameters[key] = f"parameter{len(self._parameters)}"
            self._part.parameters[self._parameters[key]] = (blob, shape_of(blob))
        parameter = self._parameters[key]
        self._g.parameter(parameter, blob.data.reshape(self._part.parameters[parameter][1]))
        return self._g.view(parameter, shape_of(blob))

    def _derive(self, step: Computed, names: list[str]) -> None:
        _, read = _alone(step)
        arrays = [np.array(self._g.arrays[name], order="C") for name in names]
        self._part.derived.append(
            Derived(step, names, arrays, {i: step.blobs[i].data.copy() for i in read})
        )

    def part(self, stop: int) -> Part:
        """Close the model behind the layers taken."""
        part = self._part
        part.stop = stop
        part.outputs = dict(self._written.values())
        kept = {self._copied(name): step for name, step in part.kept.items()}
        part.kept = kept
        outputs = list(dict.fromkeys([*part.outputs, *kept]))
        if outputs:
            part.model = self._model(outputs)
        return part

    def _copied(self, name: str) -> str:
        """Return a value's name, or where it comes from outside the name of a copy."""
        if name not in self._part.blobs:
            return name
        copy = self._g.unique(f"{name}/kept")
        self._g.begin(copy)
        self._g.end([self._g.Identity(name)], [copy])
        return copy

    def _model(self, outputs: list[str]) -> Any:
        """Return the model, in the form that is fast where weights are inputs."""
        g, used = self._g, self._g.finish(outputs)
        graph = onnx.helper.make_graph(
            g.nodes,
            "part",
            [_info(name, shape_of(blob)) for name, blob in self._part.blobs.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
        )
        opset = onnx.helper.make_opsetid("", OPSET)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        arrays = {name: array for name, array in g.arrays.items() if name in used}
        params = {name: g.params[name] for name in arrays if name in g.params}
        fused = fuse_scales(Lowered(model, arrays, (), params, g.values))
        return self._with_inputs(tune(rewrite(fused, {"PRelu": _prelu})))

    def _with_inputs(self, lowered: Lowered) -> Any:
        """Return the model with parameters, and what is computed from them, among its inputs."""
        part, graph = self._part, lowered.model.graph
        blobs = {name: blob for name, (blob, _) in part.parameters.items()}
        derived = {name for each in part.derived for name in each.names}
        part.parameters = {}
        for name, array in lowered.arrays.items():
            if name in lowered.params:
                part.parameters[name] = (blobs[lowered.params[name].name], array.shape)
            if name in lowered.params or name in derived:
                graph.input.append(_info(name, array.shape))
            else:
                graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return lowered.model


def _prelu(g: Rewriter, node: onnx.NodeProto) -> str:
    """Write max(x, 0) + slope min(x, 0), which onnxruntime's CPU is faster at."""
    x, slope = node.input
    return g.Add(g.Relu(x), g.Mul(g.Min(x, np.float32(0)), slope))


def _info(name: str, shape: Shape) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _alone(step: Computed) -> tuple[_Builder, list[int]]:
    """Lower one layer by itself; also which of its parameters' values the lowering reads."""
    g = _Builder()
    bottoms = []
    for i, blob in enumerate(step.bottoms):
        bottoms.append(f"bottom{i}")
        g.value(bottoms[-1], shape_of(blob))
    g.begin("layer")
    blobs = {}
    for i, (name, blob) in enumerate(step.parameters.items()):
        g.parameter(f"parameter{i}", blob.data)
        blobs[name] = f"parameter{i}"
    step.layer.lower(g, *bottoms, **blobs)
    return g, [i for i in range(len(blobs)) if f"parameter{i}" in g.read]
