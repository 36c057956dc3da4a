"""A module in training: what a plain loop of torch makes of it, beside real Caffe's solver."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
import torch
from google.protobuf import text_format

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.params import fill
from caffe_compat.torch import build, draw_from

from ..cases import GOLDEN, assert_close, make
from .agreement import outputs_of

TRAIN = GOLDEN / "train"


def _rate(solver, iteration):
    """Caffe's learning rate, of the policies of the three cases."""
    if solver.lr_policy == "step":
        return solver.base_lr * solver.gamma ** (iteration // solver.stepsize)
    if solver.lr_policy == "inv":
        return solver.base_lr * (1 + solver.gamma * iteration) ** -solver.power
    assert solver.lr_policy == "sigmoid"
    return solver.base_lr / (1 + np.exp(-solver.gamma * (iteration - solver.stepsize)))


def _batches(data, size):
    """Batches of a file's rows, over and over, as HDF5Data gives them."""
    count, start = len(data["label"]), 0
    while True:
        rows = [(start + i) % count for i in range(size)]
        yield {name: torch.tensor(array[rows]) for name, array in data.items()}
        start += size


@pytest.mark.parametrize("case", ["sgd_00", "sgd_12", "sgd_24"])
def test_forty_steps_of_real_caffe(case):
    """sgd_00 shares blobs, sgd_12 draws Caffe's masks for Dropout, sgd_24 has BatchNorm."""
    folder = TRAIN / case
    solver = text_format.Parse((folder / "solver.prototxt").read_text(), SolverParameter())
    assert (solver.type, solver.iter_size, solver.regularization_type) == ("SGD", 1, "L2")
    with h5py.File(folder / "data.h5") as file, np.load(folder / "out.npz") as out:
        data, want = {name: file[name][()] for name in file}, dict(out)
    size = int(re.search(r"batch_size: (\d+)", (folder / "net.prototxt").read_text())[1])
    shapes = {name: (size, *array.shape[1:]) for name, array in data.items()}
    graph = pipeline.read(folder / "net.prototxt", phase="TRAIN", inputs=shapes)
    rng = BoostRng(solver.random_seed)
    net = fill(graph, rng)
    module = build(net, outputs_of(net)).train()
    draw_from(module, rng)
    groups = module.parameter_groups(1.0, solver.weight_decay)
    optimizer = torch.optim.SGD(groups, lr=1.0)
    history = {}
    for iteration, batch in zip(range(solver.max_iter), _batches(data, size), strict=False):
        outputs = module(**{blob: batch[blob] for blob in module.names.inputs.values()})
        loss = module.total_loss(outputs)
        assert_close(loss.item(), want["loss"][iteration], 1e-5, f"loss at {iteration}")
        optimizer.zero_grad()
        loss.backward()
        if solver.clip_gradients > 0:
            torch.nn.utils.clip_grad_norm_(module.parameters(), solver.clip_gradients)
        for group in optimizer.param_groups:
            _step(group, _rate(solver, iteration), solver.momentum, history)
    trained = module.to_net()
    for key, array in want.items():
        kind, _, place = key.partition(":")
        if kind == "w" and want[f"noise:{place}"].max() <= 1e-4:
            name, _, blob = place.partition(":")
            got = list(trained.params[name].values())[int(blob)]
            assert_close(got.reshape(array.shape), array, 1e-4, key)


def _step(group, rate, momentum, history):
    """Caffe's SGD: the rate goes into the velocity."""
    with torch.no_grad():
        for parameter in group["params"]:
            slope = parameter.grad + group["weight_decay"] * parameter
            velocity = momentum * history.get(parameter, 0) + rate * group["lr"] * slope
            history[parameter] = velocity
            parameter -= velocity


INPUT = """layer { name: "x" type: "Input" top: "x"
  input_param { shape { dim: 3 dim: 4 dim: 7 dim: 6 } } }"""
LAYERS = {
    "Dropout": 'type: "Dropout" dropout_param { dropout_ratio: 0.3 }',
    "SpatialDropout": 'type: "SpatialDropout" dropout_param { dropout_ratio: 0.3 }',
    "Insanity": 'type: "Insanity" insanity_param { lb: 3 ub: 8 }',
    "RReLU": 'type: "RReLU" rrelu_param { lb: 3 ub: 8 }',
    "STOCHASTIC": 'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }',
    "STOCHASTIC rounded up": 'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_h: 2 '
    "kernel_w: 4 stride: 2 }",
    "STOCHASTIC of all": 'type: "Pooling" pooling_param { pool: STOCHASTIC global_pooling: true }',
    "BatchNorm": 'type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.9 eps: 0.1 }',
    "BatchNormScale": 'type: "BatchNormScale" scale_param { bias_term: true filler '
    '{ type: "uniform" } }',
    "pspnet": 'type: "BN" bn_param { slope_filler { type: "uniform" } momentum: 0.8 }',
    "yjxiong": 'type: "BN" bn_param { slope_filler { type: "uniform" } momentum: 0.8 }',
    "caffe-windows": 'type: "BN" bn_param { slope_filler { type: "uniform" } momentum: 0.8 }',
    "frozen": 'type: "BN" bn_param { slope_filler { type: "uniform" } frozen: true }',
    "global": 'type: "BatchNorm" batch_norm_param { use_global_stats: true }',
}


@pytest.mark.parametrize("kind", LAYERS)
def test_numpy_and_torch_draw_and_move_alike(kind):
    """Tops, gradients and the blobs that TRAIN changes, over three passes."""
    fork = {"frozen": "pspnet"}.get(kind, kind if kind in FORKS else None)
    text = f'{INPUT} layer {{ name: "l" bottom: "x" top: "{_top(kind)}" {LAYERS[kind]} }}'
    net = make(text, phase="TRAIN", fork=fork)
    node = net.graph.nodes[1]
    module = build(net, outputs_of(net))
    draw_from(module, BoostRng(7))
    assert module.training
    stream, numbers = BoostRng(7), np.random.default_rng(1)
    blobs = net.blobs_of(1)
    for _ in range(3):
        x, dy = numbers.standard_normal((2, 3, 4, 7, 6)).astype(np.float32)
        x = np.abs(x) + 1 if "STOCHASTIC" in kind else x
        draws = node.layer.draw(stream, x.shape)
        want = node.layer.forward(x, **blobs, **draws)
        bottom = torch.tensor(x, requires_grad=True)
        top = module(bottom)
        assert_close(top.detach().numpy(), want, 1e-5, "top")
        dy = np.resize(dy, want.shape)
        flows = node.layer.backward(dy, x, **blobs, **draws)
        top.backward(torch.tensor(dy))
        assert_close(bottom.grad.numpy(), flows[0] if isinstance(flows, tuple) else flows, 1e-4)
        blobs = {**blobs, **node.layer.update(x, **blobs)}
        for name, array in module.to_net().params.get("l", {}).items():
            assert_close(array, blobs[name], 1e-5, name)


FORKS = ("pspnet", "yjxiong", "caffe-windows")


def _top(kind):
    """BatchNormScale runs in place alone."""
    return "x" if kind == "BatchNormScale" else "y"


def test_eval_after_training_is_caffes_test_phase():
    body = f'layer {{ name: "l" bottom: "x" top: "y" {LAYERS["BatchNorm"]} }}'
    module = build(net := make(f"{INPUT} {body}"), outputs_of(net))
    assert not module.training
    module.train()
    x = torch.randn(3, 4, 7, 6) + 5
    for _ in range(40):
        module(x)
    module.eval()
    trained = module.to_net()
    assert_close(module(x).numpy(), trained.forward({"x": x.numpy()})["y"], 1e-5)
    assert trained.params["l"]["factor"] == pytest.approx((1 - 0.9**40) / 0.1)


def test_one_number_a_channel_has_no_variance():
    """torch refuses to normalize one number; Caffe makes it 0 and halves nothing."""
    text = INPUT.replace("dim: 3 dim: 4 dim: 7 dim: 6", "dim: 1 dim: 4")
    net = make(
        f'{text} layer {{ name: "l" bottom: "x" top: "y" {LAYERS["BatchNorm"]} }}', phase="TRAIN"
    )
    module = build(net, outputs_of(net))
    x = torch.arange(4.0).reshape(1, 4)
    assert module(x).abs().max() < 1e-5
    params = module.to_net().params["l"]
    assert params["mean"].tolist() == [0, 1, 2, 3] and not params["variance"].any()


def test_torchs_own_random_numbers():
    """Without Caffe's stream the numbers come from torch's generator, others at each pass."""
    for kind in ("Dropout", "Insanity", "STOCHASTIC"):
        text = f'{INPUT} layer {{ name: "l" bottom: "x" top: "y" {LAYERS[kind]} }}'
        module = build(net := make(text), outputs_of(net)).train()
        x = torch.randn(3, 4, 7, 6).abs() * torch.tensor([-1.0, 1, -1, 1])[:, None, None]
        x = x.abs() if kind == "STOCHASTIC" else x
        torch.manual_seed(1)
        first, second = module(x), module(x)
        torch.manual_seed(1)
        assert torch.equal(module(x), first) and not torch.equal(first, second)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_of_scores_that_are_not_finite_is_no_number(bad):
    net = make(
        'input: "x" input_shape { dim: 2 dim: 3 } input: "y" input_shape { dim: 2 }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss" }'
    )
    scores = torch.tensor([[bad, 1, 2], [0, 1, 2]])
    outputs = build(net, outputs_of(net))(x=scores, y=torch.zeros(2))
    assert torch.isnan(outputs["loss"] if isinstance(outputs, dict) else outputs)
