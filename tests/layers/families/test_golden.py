"""Every case of golden/layers, layers_ssd and layers_forks: what real code computed, both ways."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.fillers.rng import BoostRng

from ...cases import GOLDEN, assert_close, load, run_onnx

CASES = sorted(path.name for path in (GOLDEN / "layers").iterdir())
SSD = sorted(path.name for path in (GOLDEN / "layers_ssd").iterdir())
FORKS = sorted(path.name for path in (GOLDEN / "layers_forks").iterdir())
BOTH = [*(f"layers/{case}" for case in CASES), *(f"layers_ssd/{case}" for case in SSD)]


@pytest.mark.parametrize("case", BOTH)
def test_forward(case):
    net, io = load(GOLDEN / case)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    if "priorbox" in case:  # of the picture it reads the size alone, and nothing is recorded
        feeds = {v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs}
    wanted = {key[4:]: array for key, array in io.items() if key.startswith("out:")}
    assert wanted
    made = net.forward(feeds)
    lowered = run_onnx(net, feeds)
    for name, array in wanted.items():
        assert_close(made[name], array, 1e-5, f"numpy {name}")
        assert_close(lowered[name], array, 1e-5, f"onnxruntime {name}")


@pytest.mark.parametrize("case", FORKS)
def test_forks_forward(case):
    """In ONNX too, where the layer has a form there."""
    net, io = load(GOLDEN / "layers_forks" / case)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    wanted = {key[4:]: array for key, array in io.items() if key.startswith("out:")}
    values = net.run(feeds, net.draw(BoostRng(1701)))
    outputs = [{value.blob: values[value.name] for value in net.graph.outputs}]
    layer = net.graph.nodes[-1].layer
    if not (layer.evaluates or layer.prepares or case == "ctc_accuracy"):
        outputs.append(run_onnx(net, feeds))
    for blobs in outputs:
        for name, array in wanted.items():
            assert_close(blobs[name], array, 1e-5, name, axis=None)


@pytest.mark.parametrize(
    "case", [*(f"layers/{case}" for case in CASES), *(f"layers_forks/{case}" for case in FORKS)]
)
def test_backward(case):
    net, io = load(GOLDEN / case)
    recorded = [key for key in io if key.startswith(("indiff:", "paramdiff:"))]
    if not recorded:
        pytest.skip("real Caffe has no backward pass here")
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    diffs = {key[8:]: array for key, array in io.items() if key.startswith("topdiff:")}
    grads, params = net.backward(net.run(feeds), diffs)
    layers = {node.layer.name: index for index, node in enumerate(net.graph.nodes)}
    for key in recorded:
        kind, name, *place = key.split(":")
        if kind == "indiff":
            got = grads.get(net.graph.blob(name).name)
        else:
            got = params[layers[name]][int(place[0])]
        want = io[key]
        assert_close(want * 0 if got is None else got, want, 1e-4, key)
