"""Forks' layers in training: a state, blobs that a pass changes, gradients of their own."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.training.solver import Solver

from .cases import ENGINES, blobs

SOLVER = """base_lr: 0.05 lr_policy: "fixed" max_iter: 6 momentum: 0.9 weight_decay: 0.01
random_seed: 3 snapshot_after_train: false net_param { %s }"""
INPUT = 'layer { name: "d" type: "Input" top: "x" top: "t" input_param { %s } }'
SOFTMAX = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }'
MARGIN = """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "f" inner_product_param {
  num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "m" type: "%s" bottom: "f" bottom: "t" top: "y" %s_param { num_output: 4 %s } }"""
PASSES = 'type: QUADRUPLE base: 9 gamma: 0.5 weight_filler { type: "xavier" }'
MARGIN_2 = MARGIN.replace('top: "y"', 'top: "y" top: "lambda"')
PLAIN = ((8, 3, 2, 2), (8,))
NETS = {
    "LargeMarginInnerProduct": (
        MARGIN_2 % ("LargeMarginInnerProduct", "largemargin_inner_product", PASSES),
        *PLAIN,
    ),
    "MarginInnerProduct": (
        MARGIN_2 % ("MarginInnerProduct", "margin_inner_product", PASSES),
        *PLAIN,
    ),
    "CosinL2Normalize": (
        MARGIN % ("CosinL2Normalize", "cosin_loss", 'scale: 5 cosin_filler { type: "xavier" }'),
        *PLAIN,
    ),
    "DenseBlock": (
        """layer { name: "b" type: "DenseBlock" bottom: "x" top: "b" denseblock_param {
  numTransition: 2 growthRate: 2 Filter_Filler { type: "msra" }
  BN_Scaler_Filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "b" top: "y" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }""",
        *PLAIN,
    ),
    "NVIDIA's BatchNorm": (
        """layer { name: "b" type: "BatchNorm" bottom: "x" top: "b" batch_norm_param {
  scale_bias: true moving_average_fraction: 0.9 } }
layer { name: "ip" type: "InnerProduct" bottom: "b" top: "y" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }""",
        *PLAIN,
    ),
    "CtcLoss": (
        """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 4 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "CtcLoss" bottom: "y" bottom: "t" top: "loss"
  ctc_loss_param { alphabet_size: 4 time_step: 6 } }""",
        (6, 5, 3),
        (5, 2),
    ),
    "TripletLoss": (
        """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "f" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "s" type: "SampleTriplet" bottom: "f" bottom: "t" top: "s" }
layer { name: "loss" type: "TripletLoss" bottom: "f" bottom: "s" top: "loss" }""",
        (8, 3),
        (3,),
    ),
}


def batches(kind, x, t):
    """Yield batches of one kind of net."""
    rng = np.random.default_rng(1)
    while True:
        labels = rng.integers(0, 4, t)
        if kind == "TripletLoss":
            labels = np.array([3, 2, 2])
        yield {"x": rng.standard_normal(x).astype(np.float32), "t": labels.astype(np.float32)}


def solver_of(kind, engine):
    """Return a solver of one kind of net."""
    text, x, t = NETS[kind]
    shapes = " ".join(f"shape {{ {' '.join(f'dim: {n}' for n in s)} }}" for s in (x, t))
    text = INPUT % shapes + text + ("" if '"loss"' in text else SOFTMAX)
    p = text_format.Parse(SOLVER % text, SolverParameter())
    return Solver(p, data=batches(kind, x, t), engine=engine, device="cpu")


@pytest.mark.parametrize("kind", NETS)
def test_engines_agree(kind):
    """The same losses and the same blobs after six steps, each of which moves every one."""
    reference = solver_of(kind, "numpy")
    begin = {name: array.copy() for name, array in blobs(reference).items()}
    losses = [reference.step(1).loss for _ in range(6)]
    want = blobs(reference)
    assert len(set(losses)) == 6
    still = {name for name in want if np.array_equal(want[name], begin[name])}
    assert still <= {"b:10", "b:2"}  # the counts of DenseBlock and of NVIDIA's BatchNorm
    for engine in set(ENGINES) - {"numpy"}:
        other = solver_of(kind, engine)
        np.testing.assert_allclose([other.step(1).loss for _ in range(6)], losses, 2e-5)
        for name, array in blobs(other).items():
            moved = np.abs(want[name] - begin[name]).max()
            np.testing.assert_allclose(array, want[name], 0, 1e-3 * moved + 1e-7, err_msg=name)


@pytest.mark.parametrize("kind", ["LargeMarginInnerProduct", "MarginInnerProduct"])
@pytest.mark.parametrize("engine", ENGINES)
def test_margins_grow(kind, engine):
    """The weight of the plain product falls from pass to pass: 9 / (1 + n / 2)."""
    solver = solver_of(kind, engine)
    seen = [float(solver.step(1).outputs["lambda"][0]) for _ in range(3)]
    np.testing.assert_allclose(seen, [9 / 1.5, 9 / 2, 9 / 2.5], 1e-6)
