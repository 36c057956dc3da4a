"""The solver: what it refuses and how, its tests, signals, callbacks, infinite losses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from google.protobuf import text_format

import caffe_compat
from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError
from caffe_compat.training import parameters, policies
from caffe_compat.training.policies import Schedule
from caffe_compat.training.signals import Action
from caffe_compat.training.solver import Solver

from .cases import ENGINES, GOLDEN, MORE, solver

BY_NAME = {folder.name: folder for folder in MORE}

NET = """
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
BASE = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 3 random_seed: 1 snapshot_after_train: false '


def param(text=BASE, net=NET):
    p = text_format.Parse(text, SolverParameter())
    if net:
        text_format.Parse(net, p.net_param)
    return p


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        (
            BASE.replace("fixed", "cosine"),
            UnsupportedError,
            r"lr_policy 'cosine' is not known \(known: exp, fixed, inv, multifixed, multistep,",
        ),
        ('lr_policy: "step" gamma: 0.1', ShapeError, "'step' needs a stepsize above 0, not 0"),
        ('lr_policy: "exp" gamma: -1', ShapeError, "'exp' needs a gamma of at least 0, not -1"),
        ('lr_policy: "poly"', ShapeError, "'poly' needs a max_iter above 0, not 0"),
        (
            'lr_policy: "multifixed" stagelr: 1 stagelr: 2 stageiter: 3',
            ShapeError,
            "needs a stageiter for each stagelr: 1 for 2",
        ),
        (BASE + 'type: "Adamax"', UnsupportedError, "solver type 'Adamax' is not known"),
        (
            BASE + 'type: "AdaGrad" momentum: 0.5',
            ShapeError,
            "momentum cannot be used with AdaGrad, and is 0.5",
        ),
        (
            BASE + 'type: "RMSProp" momentum: 0.5',
            ShapeError,
            "momentum cannot be used with RMSProp",
        ),
        (BASE + 'type: "RMSProp" rms_decay: 1', ShapeError, r"rms_decay must lie in \[0, 1\)"),
        (BASE + "average_loss: 0", ShapeError, "average_loss must be at least 1, and is 0"),
        (BASE + "iter_size: 0", ShapeError, "iter_size must be at least 1, and is 0"),
        (
            BASE + 'weight_decay: 1 regularization_type: "L3"',
            ShapeError,
            "regularization_type 'L3' is neither L1 nor L2",
        ),
        (BASE + "test_iter: 1", ShapeError, "test_iter needs a test_interval above 0, not 0"),
        (
            BASE + "test_interval: 1 test_net_param { } test_net_param { } test_iter: 1",
            ShapeError,
            "test_iter must be given for each test net: 1 for 2",
        ),
        (
            BASE + "test_interval: 1 test_iter: 1 test_state { } test_state { }",
            ShapeError,
            "test_state is given 2 times for 1 test nets",
        ),
        (BASE + 'net: "x.prototxt"', ParseError, "by one of .*; here: net, net_param"),
        (BASE + "snapshot: 5", CaffeCompatError, "no snapshot_prefix"),
        (
            BASE + 'snapshot: 5 snapshot_prefix: "/nowhere/at/all"',
            CaffeCompatError,
            "snapshot_prefix '/nowhere/at/all': there is no directory /nowhere/at",
        ),
        (BASE + "rampup_interval: 5", UnsupportedError, "rampup_interval: versions of NVCaffe"),
        (
            BASE + 'eval_type: "faceattri" test_iter: 2 test_interval: 3',
            UnsupportedError,
            "eval_type 'faceattri': .*; without test_iter and its test nets the solver trains",
        ),
        (BASE + "clip_gradients: nan", ShapeError, "clip_gradients is nan"),
        (BASE + "delta: nan", ShapeError, "delta is nan"),
    ],
)
def test_what_caffe_checks(text, error, match):
    with pytest.raises(error, match=match):
        Solver(param(text))


def test_how_tests_are_scored_is_nothing_to_a_solver_without_any():
    trained = Solver(param(BASE + 'eval_type: "detection" ap_version: "11point"'))
    trained.solve()
    assert trained.iter == 3


def test_a_solver_without_a_net():
    with pytest.raises(ParseError, match=r"by one of net, net_param, .*; here: none"):
        Solver(param(net=None))


def test_a_net_without_a_loss():
    with pytest.raises(ShapeError, match="net_param: the net has no loss in TRAIN"):
        Solver(param(net=NET[: NET.index('layer { name: "loss')]))


def test_files(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("")
    with pytest.raises(ParseError, match=r"solver\.prototxt: the file is empty"):
        Solver(path)
    path.write_text(BASE.replace("fixed", "cosine"))
    with pytest.raises(UnsupportedError, match=r"solver\.prototxt: lr_policy 'cosine'"):
        Solver(path)
    path.write_text(BASE + 'net: "net.prototxt"')
    match = rf"names 'net\.prototxt', and there is no such file in .*, {tmp_path}$"
    with pytest.raises(ParseError, match=match):
        Solver(path)
    (tmp_path / "net.prototxt").write_text(NET.replace("InnerProduct", "OuterProduct"))
    match = r"net file: .*net\.prototxt: layer 'ip' \(OuterProduct\): unknown layer type"
    with pytest.raises(UnsupportedError, match=match):
        Solver(path)
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(ParseError, match=r"/net\.prototxt: a net; name the solver that trains it"):
        Solver(tmp_path / "net.prototxt")
    assert Solver(path).net.params["ip"]["weight"].shape == (2, 3)  # beside the solver
    path.write_text(BASE + 'net: "net.prototxt" momentun: 0.9')
    with pytest.raises(ParseError, match=r"solver\.prototxt:1:.*momentun"):
        Solver(path)
    path.write_text(BASE + 'net: "net.prototxt" type: "SGD" solver_type: SGD')
    with pytest.raises(ParseError, match=r"solver\.prototxt: .*solver_type"):
        Solver(path)
    with pytest.raises(ParseError, match="no such file"):
        Solver(tmp_path / "other.prototxt")


def test_the_old_enum_and_the_old_layers(tmp_path):
    path = tmp_path / "solver.prototxt"
    net = """
        layers { name: "d" type: DUMMY_DATA top: "x" top: "t" dummy_data_param {
          num: 4 channels: 2 height: 1 width: 1 data_filler { type: "gaussian" } } }
        layers { name: "ip" type: INNER_PRODUCT bottom: "x" top: "y" blobs_lr: 1 blobs_lr: 2
          weight_decay: 1 weight_decay: 0 inner_product_param { num_output: 2 } }
        layers { name: "loss" type: EUCLIDEAN_LOSS bottom: "y" bottom: "t" }"""
    (tmp_path / "net.prototxt").write_text(net)
    path.write_text(BASE + 'solver_type: ADAGRAD train_net: "net.prototxt"')
    trained = Solver(path)
    assert trained.param.type == "AdaGrad"
    rates = [(each.lr_mult, each.decay_mult) for each in trained.engine.learnables]
    assert rates == [(1, 1), (2, 0)]
    trained.solve()
    assert trained.iter == 3


def test_the_prefix_of_snapshots(tmp_path):
    path = tmp_path / "my_solver.prototxt"
    path.write_text("base_lr: 1")
    assert parameters.read(path).snapshot_prefix == str(tmp_path / "my_solver")
    path.write_text(f'snapshot_prefix: "{tmp_path}"')
    assert parameters.read(path).snapshot_prefix == str(tmp_path / "my_solver")
    path.write_text('snapshot_prefix: "a/b"')
    assert parameters.read(path).snapshot_prefix == "a/b"


def test_a_batch_of_another_shape():
    folder = BY_NAME["frozen"]
    rows = {"data": np.zeros((6, 2, 7, 7), "f"), "label": np.zeros(6, "f")}
    small = {name: array[:5] for name, array in rows.items()}
    trained = solver(folder, data=iter([rows, small]))
    trained.step(1)
    with pytest.raises(ShapeError, match=r"input 'data' is \(6, 2, 7, 7\), and was fed \(5, 2"):
        trained.step(1)


def test_batches_that_end():
    folder = BY_NAME["frozen"]
    rows = {"data": np.zeros((6, 2, 7, 7), "f"), "label": np.zeros(6, "f")}
    with pytest.raises(ShapeError, match="data has no more batches"):
        solver(folder, data=iter([rows])).step(2)
    with pytest.raises(ShapeError, match="data has no more batches"):
        solver(folder, data=[])
    again = solver(folder, data=[rows])  # a list starts again
    again.step(3)
    assert again.iter == 3


def test_a_test_net_without_batches():
    with pytest.raises(ShapeError, match=r"test_data has 1 sources of batches, and test net #1"):
        folder = BY_NAME["test_state"]
        solver(folder, test_data=[[{"data": np.zeros((3, 2, 7, 7)), "label": np.zeros(3)}]])


def test_fed_data_take_the_place_of_what_is_drawn():
    batch = {"x": np.full((4, 3), 2, "f")}
    trained = Solver(param(), data=[batch])
    last = trained.step(1)
    x = np.full((4, 3), 2, "f")
    weight = Solver(param()).net.params["ip"]["weight"]
    assert math.isclose(last.loss, float(np.sum((x @ weight.T - 1) ** 2)) / 8, rel_tol=1e-5)


def test_weights_to_start_from(tmp_path):
    first = Solver(param())
    first.step(3)
    caffe_compat.save(first.net, tmp_path / "a.caffemodel")
    lines = []
    second = Solver(param(), weights=[tmp_path / "a.caffemodel"], log=lines.append)
    np.testing.assert_array_equal(
        second.net.params["ip"]["weight"], first.net.params["ip"]["weight"]
    )
    assert any(f"Finetuning from {tmp_path / 'a.caffemodel'}" in line for line in lines)
    p = param(BASE + f'weights: "{tmp_path / "a.caffemodel"}"')
    np.testing.assert_array_equal(
        Solver(p).net.params["ip"]["weight"], first.net.params["ip"]["weight"]
    )
    second.step(1)  # the file is never written to
    np.testing.assert_array_equal(
        Solver(p).net.params["ip"]["weight"], first.net.params["ip"]["weight"]
    )


def test_weights_of_the_solver_are_found_beside_it(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    first = Solver(param())
    first.step(2)
    for name in "ab":
        caffe_compat.save(first.net, tmp_path / f"{name}.caffemodel")
    path = tmp_path / "solver.prototxt"
    path.write_text(BASE + 'net: "net.prototxt" weights: "a.caffemodel, b.caffemodel"')
    np.testing.assert_array_equal(
        Solver(path).net.params["ip"]["weight"], first.net.params["ip"]["weight"]
    )
    path.write_text(BASE + 'net: "net.prototxt" weights: "c.caffemodel"')
    match = r"names 'c\.caffemodel', and there is no such file in "
    with pytest.raises(ParseError, match=match):
        Solver(path)


def test_a_solver_for_a_gpu_trains_here(caplog):
    Solver(param(BASE + "solver_mode: GPU")).solve()
    assert "solver_mode is GPU" in caplog.text


def test_callbacks_and_gradients():
    trained = Solver(param())
    calls = []
    trained.add_callback(
        lambda: calls.append("start"),
        lambda: calls.append(np.abs(trained.gradients["ip"]["weight"]).sum()),
    )
    before = trained.net.params["ip"]["weight"].copy()
    trained.step(1)
    assert calls[0] == "start" and calls[1] > 0
    step = trained.gradients["ip"]["weight"]
    np.testing.assert_allclose(before - trained.net.params["ip"]["weight"], step, atol=1e-7)


def test_signals(tmp_path):
    p = param(BASE.replace("max_iter: 3", "max_iter: 50") + f'snapshot_prefix: "{tmp_path}/s"')
    requests = {2: Action.SNAPSHOT, 5: Action.STOP}
    lines = []
    trained = Solver(p, log=lines.append)
    trained.action = lambda: requests.get(trained.iter, Action.NONE)
    trained.solve()
    assert trained.iter == 5 and trained.stopped
    assert [path.name for path in sorted(tmp_path.glob("*.solverstate"))] == [
        "s_iter_2.solverstate"
    ]
    assert lines[-1].endswith("Optimization stopped early.")


def test_a_stop_while_testing(tmp_path):
    p = param(BASE + "test_interval: 1 test_iter: 4")
    lines = []
    trained = Solver(p, log=lines.append)
    trained.action = lambda: Action.STOP
    trained.solve()
    assert trained.iter == 0 and any("Test interrupted." in line for line in lines)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_loss_that_is_not_finite(tmp_path):
    net = NET.replace(
        'layer { name: "loss"',
        'layer { name: "grow" type: "Exp" bottom: "y" top: "e" }\nlayer { name: "loss"',
    ).replace('bottom: "y" bottom: "t"', 'bottom: "e" bottom: "t"')
    p = param(BASE + f'snapshot_prefix: "{tmp_path}/s" snapshot: 1', net=net)
    p.base_lr = 1e4
    trained = Solver(p)
    with pytest.raises(CaffeCompatError) as caught:
        trained.step(20)
    state = f"{tmp_path}/s_iter_{trained.iter}.solverstate"
    assert str(caught.value) in (
        f"iteration {trained.iter}: the loss is {value}, first at layer '{layer}'; "
        f"the last snapshot before it is {state}"
        for value in ("inf", "nan")
        for layer in ("grow", "loss", "ip")
    )


def test_test_outputs_are_means():
    p = param(BASE + "test_interval: 2 test_iter: 3 test_initialization: false")
    lines = []
    trained = Solver(p, log=lines.append)
    trained.solve()
    tests = [line for line in lines if "Testing net" in line]
    assert [line.rpartition("Iteration ")[2] for line in tests] == ["2, Testing net (#0)"]
    scores = trained.test()
    assert list(scores) == ["loss"] and scores["loss"].shape == ()


def rates(text, count):
    schedule = Schedule(text_format.Parse(text, SolverParameter()))
    values = []
    for iteration in range(count):
        schedule.advance(iteration, 1.0)
        values.append(schedule.rate(iteration))
    return values


def test_forks_policies():
    warm = 'lr_policy: "multistep" base_lr: 1 gamma: 0.1 stepvalue: 6 warmup_iter: 4 '
    assert np.allclose(
        rates(warm + "warmup_start_lr: 0.2", 8), [0.2, 0.4, 0.6, 0.8, 1, 1, 0.1, 0.1]
    )
    fixed = 'lr_policy: "multifixed" stagelr: 3 stagelr: 2 stageiter: 1 stageiter: 3'
    assert rates(fixed, 6) == [3, 3, 2, 2, 2, 2]


def test_every_policy_of_the_recordings_is_known():
    named = {
        parameters.read(folder / "solver.prototxt").lr_policy
        for folder in (GOLDEN / "train").iterdir()
    }
    assert named == {"fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"}
    assert named < set(policies.POLICIES)


def test_the_rate_of_the_next_update():
    p = param(
        'lr_policy: "multistep" base_lr: 1 gamma: 0.5 stepvalue: 2 snapshot_after_train: false'
    )
    trained = Solver(p)
    seen = []
    for _ in range(4):
        seen.append((trained.lr, trained.lr))
        trained.step(1)
    assert seen == [(1, 1), (1, 1), (0.5, 0.5), (0.5, 0.5)]


@pytest.mark.parametrize(
    ("policy", "rates"),
    [
        ('"exp" gamma: 1e38', (1, 1e38, np.inf)),
        ('"step" gamma: 1e38 stepsize: 4', (1, 1, np.inf)),
        ('"inv" gamma: 1 power: -1e30', (1, np.inf, np.inf)),
        ('"poly" max_iter: 9 power: -1', (1, 9 / 8, np.inf)),
        ('"poly" max_iter: 8 power: 0.5', (1, (7 / 8) ** 0.5, np.nan)),
    ],
)
def test_rates_beyond_all_numbers(policy, rates):
    p = text_format.Parse(f"base_lr: 1 lr_policy: {policy}", SolverParameter())
    schedule = Schedule(p)
    found = []
    for iteration in (0, 1, 9):
        schedule.advance(iteration, 0)
        found.append(schedule.rate(iteration))
    np.testing.assert_allclose(found, rates, rtol=1e-6)


LABELLED = """
layer {{ name: "in" type: "Input" top: "x" top: "t" input_param {{
  shape {{ dim: 4 dim: 5 {size} }} shape {{ dim: 4 {size} }} }} }}
layer {{ name: "y" type: "Convolution" bottom: "x" top: "y" convolution_param {{
  num_output: 3 kernel_size: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "y" top: "y" }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" {param} }}
"""


@pytest.mark.parametrize("rng", ["boost-1.64", "fast"])
@pytest.mark.parametrize("size", ["dim: 1 dim: 1", "dim: 2 dim: 2"])
@pytest.mark.parametrize("param", ["", "loss_param { ignore_label: 9 }"])
@pytest.mark.parametrize("label", [3, -1, -100])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_label_that_is_no_class(engine, label, param, size, rng):
    n = int(size[-1])
    feeds = {"x": np.ones((4, 5, n, n), np.float32), "t": np.zeros((4, n, n), np.float32)}
    feeds["t"][0, 0, 0] = label
    p = SolverParameter(base_lr=0.1, lr_policy="fixed", random_seed=1)
    text_format.Parse(LABELLED.format(size=size, param=param), p.net_param)
    feeds["t"] = feeds["t"].reshape(4, n, n)
    p.net_param.layer[0].input_param.shape[1].dim[:] = [4, n, n]
    trained = Solver(p, data=itertools.repeat(feeds), engine=engine, device="cpu", rng=rng)
    with pytest.raises(
        ShapeError, match=rf"layer 'loss' \(SoftmaxWithLoss\): label {label} is outside the 3"
    ):
        trained.step(1)
