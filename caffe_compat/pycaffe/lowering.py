"""Several layers of a live net as one ONNX model, whose weights are inputs and blobs outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ..errors import UnsupportedError
from ..layers.builder import Builder
from ..onnx.lowering import OPSET
from ..onnx.passes.cpu import tune
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
        """Whether a parameter has changed since."""
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
    """Whether a layer can be part of a model at the shapes that it has now."""
    if type(step) is not Computed or step.layer.varies:
        return False
    if not step.tops or step.layer.feeds():
        return False
    try:
        _alone(step)
    except UnsupportedError:
        return False
    return True


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
        before = len(self._g.derived)
        results = step.layer.lower(self._g, *bottoms, **blobs)
        results = results if isinstance(results, tuple) else (results,)
        tops = [self._write(step, i) for i in range(len(step.tops))]
        self._g.end(results, tops, inplace=False)
        if self._g.read - known or len(self._g.derived) > before:
            self._derive(step, self._g.derived[before:])
        return True

    def _stale(self, blob: Blob) -> bool:
        """Whether a blob's memory holds something else than the tensor that stands for it."""
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
        g, read = _alone(step)
        arrays = [np.array(self._g.arrays[name], order="C") for name in names]
        self._part.derived.append(
            Derived(step, names, arrays, {i: step.blobs[i].data.copy() for i in read})
        )

    def part(self, stop: int) -> Part:
        """Close the model behind the layers taken."""
        part, g = self._part, self._g
        part.stop = stop
        part.outputs = dict(self._written.values())
        names = [*part.outputs, *(name for name in part.kept if name not in part.outputs)]
        if not names:
            return part
        outputs = [self._output(name) for name in names]
        part.outputs = dict(zip(outputs, part.outputs.values(), strict=False))
        kept = dict(zip(names, outputs, strict=True))
        part.kept = {kept[name]: step for name, step in part.kept.items()}
        part.model = self._model(list(dict.fromkeys(outputs)))
        return part

    def _output(self, name: str) -> str:
        """Return the name of a tensor that a node makes with a value."""
        carrier = self._g.resolve(name)
        made = {output for node in self._g.nodes for output in node.output}
        if carrier == name and carrier in made:
            return name
        self._g.begin(name)
        return str(self._g.Identity(carrier))

    def _model(self, outputs: list[str]) -> Any:
        part, g = self._part, self._g
        used = g.prune(outputs)
        infos: dict[str, Shape] = {n: shape_of(b) for n, b in part.blobs.items() if n in used}
        part.blobs = {name: part.blobs[name] for name in infos}
        views = {name: array for name, array in g.arrays.items() if g.is_parameter(name)}
        bases = dict(part.parameters)
        part.parameters = {}
        for name, array in views.items():
            if name in used:
                base = name.partition(":")[0]
                part.parameters[name] = (bases[base][0], array.shape)
                infos[name] = array.shape
        for derived in part.derived:
            for name, array in zip(derived.names, derived.arrays, strict=True):
                infos[name] = array.shape
        constants = {n: a for n, a in g.arrays.items() if n in used and n not in infos}
        graph = onnx.helper.make_graph(
            g.nodes,
            "part",
            [_info(name, shape) for name, shape in infos.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
        )
        tune(model, constants)
        _spread_prelu(model)
        return model


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


def _spread_prelu(model: Any) -> None:
    """Say PRelu as max(x, 0) + slope min(x, 0), which onnxruntime's CPU is faster at."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue
        x, slope = node.input
        y = node.output[0]
        zero = f"{y}/zero"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((), np.float32), zero))
        nodes += [
            onnx.helper.make_node("Relu", [x], [f"{y}/positive"]),
            onnx.helper.make_node("Min", [x, zero], [f"{y}/negative"]),
            onnx.helper.make_node("Mul", [f"{y}/negative", slope], [f"{y}/scaled"]),
            onnx.helper.make_node("Add", [f"{y}/positive", f"{y}/scaled"], [y]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


