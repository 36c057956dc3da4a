"""`caffe.Net`: a net that stays alive, its arrays in the script's hands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..types import AnyArray, Array
from . import mode, storage, wiring
from .blob import (
    Blob,
    BlobVec,
    DtypeVec,
    IntVec,
    LayerVec,
    Named,
    StringVec,
    named,
    shape_of,
)
from .engine import Engine
from .feeding import MemoryDataStep
from .layer import Layer

_FORMS = (
    "Net(network_file, phase, level=0, stages=None, weights=None) or "
    "Net(network_file, weights, phase)"
)


class Net:
    """A net with its blobs and parameters.

    What is written into `net.blobs[name].data`, `net.params[name][i].data` or a `diff` is what
    the next forward or backward computes with.

    Args:
        network_file: the prototxt.
        phase: caffe.TRAIN or caffe.TEST.
        level: NetState's level.
        stages: NetState's stages, beside those that the prototxt gives.
        weights: a caffemodel or HDF5 file.

    Raises:
        RuntimeError: a file cannot be opened.
        CaffeCompatError: the prototxt or the weights are refused; the message says where and why.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        path, phase, level, stages, weights = _arguments(args, kwargs)
        check_file(path)
        if weights is not None:
            check_file(weights)
        message = wiring.read(path, phase, level, stages)
        if weights is None:
            self._start(wiring.connect(message))
            return
        trained = storage.read(weights)
        self._start(wiring.connect(message, storage.stored_shapes(trained)))
        storage.copy_from(self._wiring, trained)

    def _start(self, parts: wiring.Wiring) -> None:
        self._wiring = parts
        self._engine = Engine(parts.steps)
        names = parts.layer_names
        self._layers = LayerVec(step.shown for step in parts.steps)
        self._blobs_dict = named(parts.blob_names, parts.blobs)
        self._params_dict = Named(
            (name, layer.blobs)
            for name, layer in zip(names, self._layers, strict=True)
            if len(layer.blobs)
        )
        self._index = {name: i for i, name in reversed([*enumerate(names)])}

    # -- what there is -----------------------------------------------------------------------

    @property
    def blobs(self) -> Named[Blob]:
        """The blobs by name, in the order in which layers make them."""
        return self._blobs_dict

    @property
    def params(self) -> Named[BlobVec]:
        """The parameter blobs by layer."""
        return self._params_dict

    @property
    def layers(self) -> LayerVec:
        """The layers."""
        return self._layers

    @property
    def layer_dict(self) -> Named[Layer]:
        """The layers by name."""
        return named(self._wiring.layer_names, self._layers)

    @property
    def blob_loss_weights(self) -> Named[float]:
        """The loss weights of the blobs by name."""
        return named(self._wiring.blob_names, self._wiring.loss_weights)

    @property
    def inputs(self) -> list[str]:
        """The names of the Input layers' blobs."""
        return [self._wiring.blob_names[i] for i in self._wiring.inputs]

    @property
    def outputs(self) -> list[str]:
        """The names of the blobs that no layer reads, sorted."""
        return [self._wiring.blob_names[i] for i in self._wiring.outputs]

    @property
    def top_names(self) -> Named[list[str]]:
        """The names of each layer's tops."""
        return self._names(self._wiring.top_ids)

    @property
    def bottom_names(self) -> Named[list[str]]:
        """The names of each layer's bottoms."""
        return self._names(self._wiring.bottom_ids)

    def _names(self, ids: Sequence[Sequence[int]]) -> Named[list[str]]:
        blobs = self._wiring.blob_names
        return named(self._wiring.layer_names, [[blobs[i] for i in each] for each in ids])

    @property
    def _layer_names(self) -> StringVec:
        return StringVec(self._wiring.layer_names)

    @property
    def _blob_names(self) -> StringVec:
        return StringVec(self._wiring.blob_names)

    @property
    def _blobs(self) -> BlobVec:
        return BlobVec(self._wiring.blobs)

    @property
    def _blob_loss_weights(self) -> DtypeVec:
        return DtypeVec(self._wiring.loss_weights)

    @property
    def _inputs(self) -> IntVec:
        return IntVec(self._wiring.inputs)

    @property
    def _outputs(self) -> IntVec:
        return IntVec(self._wiring.outputs)

    def _top_ids(self, layer: int) -> IntVec:
        return IntVec(self._wiring.top_ids[layer])

    def _bottom_ids(self, layer: int) -> IntVec:
        return IntVec(self._wiring.bottom_ids[layer])

    # -- running -----------------------------------------------------------------------------

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: AnyArray,
    ) -> dict[str, Array]:
        """Run the net, or the part of it from one layer to another.

        Args:
            blobs: names of blobs to return beside the outputs.
            start: the name of the first layer to run.
            end: the name of the last; its tops are then the outputs.
            kwargs: an array for every input, by name.

        Returns:
            The arrays by name: the blobs' own memory, which the next forward overwrites.
        """
        first = 0 if start is None else self._layer_index(start)
        last = len(self._layers) - 1 if end is None else self._layer_index(end)
        wanted = {*(self.outputs if end is None else self.top_names[end]), *(blobs or ())}
        if kwargs:
            if set(kwargs) != set(self.inputs):
                raise ShapeError("Input blob arguments do not match net inputs.")
            for name, array in kwargs.items():
                if array.shape[0] != shape_of(self.blobs[name])[0]:
                    raise ShapeError("Input is not batch sized")
                self.blobs[name].data[...] = array
        self._forward(first, last)
        return {name: self.blobs[name].data for name in wanted}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: AnyArray,
    ) -> dict[str, Array]:
        """Run the net backward, or the part of it from one layer to an earlier one.

        Args:
            diffs: names of blobs whose gradients to return beside the inputs'.
            start: the name of the first layer to run, the last by default.
            end: the name of the last; the gradients at its bottoms are then returned.
            kwargs: the gradient at every output, by name.

        Returns:
            The gradients by name: the blobs' own memory.
        """
        first = len(self._layers) - 1 if start is None else self._layer_index(start)
        last = 0 if end is None else self._layer_index(end)
        wanted = {*(self.inputs if end is None else self.bottom_names[end]), *(diffs or ())}
        if kwargs:
            if set(kwargs) != set(self.outputs):
                raise ShapeError("Top diff arguments do not match net outputs.")
            for name, array in kwargs.items():
                if array.shape[0] != shape_of(self.blobs[name])[0]:
                    raise ShapeError("Diff is not batch sized")
                self.blobs[name].diff[...] = array
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in wanted}

    def _layer_index(self, name: str) -> int:
        if name not in self._index:
            raise ValueError(f"{name!r} is not in list")
        return self._index[name]

    def _forward(self, start: int, end: int) -> float:
        return self._engine.forward(start, end)

    def _backward(self, start: int, end: int) -> None:
        self._engine.backward(start, end)

    def forward_all(
        self, blobs: Sequence[str] | None = None, **kwargs: AnyArray
    ) -> dict[str, AnyArray]:
        """Run the net on arrays of any length, in batches; see `forward`."""
        collected: dict[str, list[AnyArray]] = {n: [] for n in {*self.outputs, *(blobs or ())}}
        for batch in self._batch(kwargs):
            for name, array in self.forward(blobs, **batch).items():  # type: ignore[arg-type]
                collected[name].extend(array.copy())
        return _without_padding(collected, len(next(iter(kwargs.values()))))

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **kwargs: AnyArray,
    ) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
        """Run the net forward and backward on arrays of any length, in batches."""
        data: dict[str, list[AnyArray]] = {n: [] for n in {*self.outputs, *(blobs or ())}}
        gradients: dict[str, list[AnyArray]] = {n: [] for n in {*self.inputs, *(diffs or ())}}
        feeds = self._batch({n: kwargs[n] for n in self.inputs if n in kwargs})
        seeds = self._batch({n: kwargs[n] for n in self.outputs if n in kwargs})
        none: dict[str, Any] = {}
        for feed, seed in zip_longest(feeds, seeds, fillvalue=none):
            outputs = self.forward(blobs, **feed)
            flows = self.backward(diffs, **seed)
            for name, array in outputs.items():
                data[name].extend(array.copy())
            for name, array in flows.items():
                gradients[name].extend(array.copy())
        length = len(next(iter(kwargs.values())))
        return _without_padding(data, length), _without_padding(gradients, length)

    def _batch(self, blobs: Mapping[str, AnyArray]) -> Iterator[dict[str, AnyArray]]:
        """Yield batches of the net's size; the last is padded with zeros."""
        if not blobs:
            return
        total = len(next(iter(blobs.values())))
        size = shape_of(next(iter(self.blobs.values())))[0]
        for start in range(0, total, size):
            batch = {name: array[start : start + size] for name, array in blobs.items()}
            missing = size - min(size, total - start)
            if missing:
                for name, array in batch.items():
                    zeros = np.zeros((missing, *np.shape(array)[1:]))
                    batch[name] = np.concatenate([array, zeros])
            yield batch

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs'."""
        for step in self._wiring.steps:
            step.reshape()

    def clear_param_diffs(self) -> None:
        """Set the gradients of the parameters to 0."""
        for layer in self._layers:
            for blob in layer.blobs:
                blob.diff[...] = 0

    def before_forward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index before each layer of a forward."""
        self._engine.before_forward.append(run)

    def after_forward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index after each layer of a forward."""
        self._engine.after_forward.append(run)

    def before_backward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index before each layer of a backward."""
        self._engine.before_backward.append(run)

    def after_backward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index after each layer of a backward."""
        self._engine.after_backward.append(run)

    def set_input_arrays(self, data: AnyArray, labels: AnyArray) -> None:
        """Feed the net's MemoryData layer, its first, from arrays (N, C, H, W) and (N,)."""
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data: AnyArray, labels: AnyArray) -> None:
        first = self._wiring.steps[0]
        if not isinstance(first, MemoryDataStep):
            raise RuntimeError(  # noqa: TRY004 - as pycaffe does
                "set_input_arrays may only be called if the first layer is a MemoryDataLayer"
            )
        first.feed(data, labels)

    # -- weights -----------------------------------------------------------------------------

    def copy_from(self, weights: str) -> None:
        """Read weights by layer name from a caffemodel or HDF5 file."""
        path = os.fspath(weights)
        check_file(path)
        storage.copy_from(self._wiring, storage.read(path))

    def share_with(self, other: Net) -> None:
        """Make the parameters those of another net, by layer name: one memory for both."""
        storage.share(self._wiring, other._wiring)

    def save(self, path: str) -> None:
        """Write a caffemodel."""
        storage.save(self._wiring, os.fspath(path))

    def save_hdf5(self, path: str) -> None:
        """Write the weights as HDF5."""
        storage.save_hdf5(self._wiring, os.fspath(path))

    def load_hdf5(self, path: str) -> None:
        """Read weights by layer name from an HDF5 file."""
        self.copy_from(path)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("a caffe.Net cannot be copied or pickled; build another from its files")


def _without_padding(collected: Mapping[str, list[AnyArray]], length: int) -> dict[str, AnyArray]:
    return {name: np.asarray(rows)[:length] for name, rows in collected.items()}


def _arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, int, int, Sequence[str], str | None]:
    """Sort out the constructor's two forms."""
    names = ("network_file", "phase", "level", "stages", "weights")
    legacy = len(args) == 3 and not kwargs and _is_path(args[1]) and not _is_path(args[2])
    if legacy:
        args = (args[0], args[2], 0, None, args[1])
        mode.debug("deprecated: Net(file, weights, phase); use Net(file, phase, weights=file)")
    values: dict[str, Any] = {"level": 0, "stages": None, "weights": None}
    by_place = dict(zip(names, args, strict=False))
    wrong = set(kwargs) - set(names) or set(kwargs) & set(by_place)
    values.update(by_place, **{name: kwargs[name] for name in kwargs if name in names})
    if wrong or len(args) > len(names) or {"network_file", "phase"} - set(values):
        keywords = ", ".join(sorted(kwargs)) or "no keywords"
        raise TypeError(f"{_FORMS}; got {len(args)} arguments and {keywords}")
    path, phase, weights = values["network_file"], values["phase"], values["weights"]
    paths = _is_path(path) and (weights is None or _is_path(weights))
    if not paths or not isinstance(phase, int):
        raise TypeError(f"{_FORMS}; got {path!r}, phase {phase!r}, weights {weights!r}")
    stages = [str(stage) for stage in values["stages"] or ()]
    return (
        os.fspath(path),
        int(phase),
        int(values["level"]),
        stages,
        None if weights is None else os.fspath(weights),
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def check_file(path: str) -> None:
    """Raise RuntimeError unless a file can be opened."""
    try:
        with Path(path).open("rb"):
            pass
    except OSError:
        raise RuntimeError(f"Could not open file {path}") from None
