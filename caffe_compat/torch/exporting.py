"""Torch modules as files that run or load without this package: .pt2 and .safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from .. import files
from ..errors import CaffeCompatError, UnsupportedError
from ..sink import sink
from ..types import Dims, Shape
from .layers import CaffeLayer, NumpyForm
from .module import CaffeModule

NAMES = "caffe_names.json"
"""The extra file of a .pt2 that has Caffe's names: see `NameMap`."""


def export(module: CaffeModule, path: str | Path) -> None:
    """Write a module by its path's suffix: `.pt2` (torch.export) or `.safetensors` (the weights).

    A .pt2 is the module in `eval()`, of any batch unless the net fixes it; `torch.export.load`
    reads it where this package is not installed. Caffe's names are in its extra file
    `caffe_names.json`. Parameters that layers share are tied in the module, and not in a .pt2.

    Args:
        module: the module, which stays as it is.
        path: the file to write; what was there stays if this fails.

    Raises:
        UnsupportedError: a layer runs in numpy, or torch cannot export the module.
        CaffeCompatError: the suffix is neither, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        write_tensors(module.state_dict(), path)
    elif path.suffix == ".pt2":
        program = trace(module)
        extra = {NAMES: json.dumps(asdict(module.names))}
        with sink(path) as file:
            torch.export.save(program, cast("IO[bytes]", file), extra_files=extra)
    else:
        raise CaffeCompatError(f"{path}: ends in neither .pt2 nor .safetensors")


def trace(module: CaffeModule) -> torch.export.ExportedProgram:
    """Return the module as torch.export traces it, in `eval()`, of any batch where it takes any.

    Raises:
        UnsupportedError: a layer runs in numpy, or torch cannot export the module.
    """
    check_torch_alone(module)
    values = {value.blob: value for value in module.origin.graph.inputs}
    inputs = [values[blob] for blob in module.names.inputs.values()]
    batches: dict[int, Any] = {}
    examples, dynamic = [], []
    for value in inputs:
        open_batch = bool(value.dims) and value.dims[0] is None
        shape = module.origin.shapes[value.blob]
        examples.append(_example(module, shape, value.dims))
        size = shape[0] if open_batch else 0
        batch = batches.setdefault(size, torch.export.Dim(f"batch_{len(batches)}", min=1))
        dynamic.append({0: batch} if open_batch else None)
    training = module.training
    try:
        with torch.no_grad():
            return torch.export.export(
                module.eval(), tuple(examples), dynamic_shapes=tuple(dynamic), strict=False
            )
    except Exception as error:  # whatever torch raises: it has no error class of its own here
        raise _refusal(module, error) from error
    finally:
        module.train(training)


def _refusal(module: CaffeModule, error: Exception) -> UnsupportedError:
    """Return why torch.export failed: its own words, or what its version is known to lack."""
    version = torch.__version__
    if tuple(map(int, version.split(".")[:2])) < (2, 8):
        layers = [node.layer for node in module.origin.graph.nodes]
        if detections := [f"'{each.name}'" for each in layers if each.type == "DetectionOutput"]:
            return UnsupportedError(
                f"torch.export of PyTorch {version} cannot export DetectionOutput "
                f"({', '.join(detections)}); PyTorch 2.8 and later can"
            )
    return UnsupportedError(f"torch.export: {error}")


def check_torch_alone(module: CaffeModule) -> None:
    """Refuse a module of which a layer runs in numpy.

    Raises:
        UnsupportedError: the layers, all at once.
    """
    in_numpy = [
        module.names.layers.get(name, name)
        for name, part in module.named_modules()
        if isinstance(part, CaffeLayer) and isinstance(part.in_test, NumpyForm)
    ]
    if in_numpy:
        listed = ", ".join(f"'{layer}'" for layer in in_numpy)
        raise UnsupportedError(f"layers that run in numpy cannot leave Python: {listed}")


def _example(module: CaffeModule, shape: Shape, dims: Dims) -> Tensor:
    """Return an input to trace with: torch takes a size of 1 for a constant."""
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    sizes = list(shape)
    if dims and dims[0] is None:
        sizes[0] = max(2, sizes[0])
    return torch.zeros(sizes, dtype=like.dtype, device=like.device)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as a safetensors file, each for itself where two share their memory.

    Raises:
        CaffeCompatError: safetensors is not installed, or the file cannot be written.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError:
        raise CaffeCompatError(f"{path}: needs safetensors: pip install safetensors") from None
    separate = {
        key: tensor.detach().clone(memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }
    with files.atomic(path) as temporary:
        try:
            save_file(separate, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # of a full disk too
            raise CaffeCompatError(f"{path}: cannot be written: {error}") from None
