"""What real Caffe computed, forward and back, by the torch module on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe_compat.torch import build

from ..cases import GOLDEN, assert_close, load
from .agreement import assert_gradients, outputs_of, run, tensors_of

CASES = [
    pytest.param(folder, id=folder.name)
    for name in ("layers", "layers_ssd", "layers_forks")
    for folder in sorted((GOLDEN / name).iterdir())
    if folder.is_dir() and folder.name != "sample_triplet"  # drawn in a solver's passes alone
]


def check_case(folder, device, tolerance):
    """Forward within the tolerance of what is recorded, gradients within 1e-4."""
    net, io = load(folder)
    module = build(net, outputs_of(net)).eval().to(device)
    shapes = {value.blob: value.shape for value in net.graph.inputs}
    feeds = {  # of a bottom whose shape alone is read nothing is recorded
        blob: io.get(f"in:{blob}", np.zeros(shapes[blob], np.float32))
        for blob in module.names.inputs.values()
    }
    inputs, outputs = run(module, feeds, device)
    for key, want in io.items():
        if key.startswith("out:"):
            axis = None if "layers_forks" in folder.parts else 1  # as the numpy test compares
            assert_close(outputs[key[4:]].detach().cpu().numpy(), want, tolerance, key, axis)
    fed_back = {key[8:]: want for key, want in io.items() if key.startswith("topdiff:")}
    roots = [blob for blob in fed_back if outputs[blob].requires_grad]
    torch.autograd.backward(
        [outputs[blob] for blob in roots],
        [torch.tensor(fed_back[blob], device=device) for blob in roots],
    )
    tensors = tensors_of(module)
    for key, want in io.items():
        kind, _, name = key.partition(":")
        if kind == "indiff" and name in inputs:
            assert_gradients(inputs[name], want, key)
        if kind == "paramdiff":
            layer, _, blob = name.rpartition(":")
            assert_gradients(tensors[layer, int(blob)], want, key)


@pytest.mark.parametrize("folder", CASES)
def test_case(folder):
    check_case(folder, "cpu", 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_all_on_cuda(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    for case in CASES:
        check_case(case.values[0], "cuda", 1e-4)


def test_all_are_here():
    assert len(CASES) >= 262
    assert (
        sum(any(f.startswith("topdiff") for f in np.load(c.values[0] / "io.npz")) for c in CASES)
        >= 208
    )
