"""Upgrades against Caffe's own upgrade tool (golden/upgrade), and by hand where that is silent."""

from pathlib import Path

import pytest

from caffe_compat.caffe_pb2 import NetParameter, SolverParameter, V1LayerParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.prototxt.parser import parse
from caffe_compat.prototxt.reader import read_net
from caffe_compat.prototxt.upgrade import upgrade, upgrade_solver

CASES = sorted((Path(__file__).parents[1] / "golden" / "upgrade").iterdir())


def net(text):
    return parse(text, NetParameter)


def test_golden_is_whole():
    assert len(CASES) == 83


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_upgrade_equals_caffe(case):
    before, skipped = read_net(case / "before.prototxt")
    after, _ = read_net(case / "after.prototxt")
    given = before.SerializeToString(deterministic=True)
    assert not skipped
    assert upgrade(before) == after
    assert before.SerializeToString(deterministic=True) == given  # pure
    assert upgrade(after) == after  # nothing left to do
    assert upgrade(NetParameter.FromString(given)) == after  # a binary file is the same message


V2_NAMES = """AbsVal Accuracy ArgMax BNLL Concat ContrastiveLoss Convolution Data Deconvolution
Dropout DummyData EuclideanLoss Eltwise Exp Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData
InfogainLoss InnerProduct LRN MemoryData MultinomialLogisticLoss MVN Pooling Power ReLU Sigmoid
SigmoidCrossEntropyLoss Silence Softmax SoftmaxWithLoss Split Slice TanH WindowData Threshold"""
FORKS = "BN Convolution3D Insanity Pooling3D PReLU ROIPooling Unpooling"


def test_every_v1_type():
    names = V1LayerParameter.LayerType.keys()
    old = NetParameter(layers=[V1LayerParameter(name=n, type=n) for n in names if n != "NONE"])
    assert {layer.type for layer in upgrade(old).layer} == set(V2_NAMES.split() + FORKS.split())
    by_name = {layer.name: layer.type for layer in upgrade(old).layer}
    assert by_name["SOFTMAX_LOSS"] == "SoftmaxWithLoss"
    assert by_name["HDF5_OUTPUT"] == "HDF5Output"


EQUAL = {
    "shorter lists of per-blob settings": (
        'layers { type: CONVOLUTION param: "w" blobs_lr: 1 blobs_lr: 2 weight_decay: 0'
        "         blob_share_mode: PERMISSIVE }",
        'layer { type: "Convolution" param { name: "w" share_mode: PERMISSIVE lr_mult: 1'
        "        decay_mult: 0 } param { lr_mult: 2 } }",
    ),
    "input_dim": (
        'input: "a" input: "b" input_dim: [2, 3, 5, 7, 11, 13, 17, 19] layer { name: "x" }',
        'layer { name: "input" type: "Input" top: "a" top: "b" input_param {'
        "  shape { dim: [2, 3, 5, 7] } shape { dim: [11, 13, 17, 19] } } } layer { name: 'x' }",
    ),
    "input_shape wins over input_dim": (
        'input: "a" input_shape { dim: [2, 3] } input_dim: [1, 1, 1, 1]',
        'layer { name: "input" type: "Input" top: "a" input_param { shape { dim: [2, 3] } } }',
    ),
    "inputs without extents": ('name: "n" input: "data"', 'name: "n"'),
    "BatchNorm with its three": (
        'layer { type: "BatchNorm" param { lr_mult: 1 } param { name: "s" } param {} }',
        'layer { type: "BatchNorm" param { lr_mult: 0 decay_mult: 0 }'
        '  param { name: "s" lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 } }',
    ),
    "BatchNorm with two": (
        'layer { type: "BatchNorm" param { lr_mult: 1 } param {} }',
        'layer { type: "BatchNorm" param { lr_mult: 1 } param {} }',
    ),
    "padding before a pooling": (
        'input: "d" input_dim: [1, 2, 3, 4]'
        'layers { layer { name: "p" type: "padding" pad: 2 } bottom: "d" top: "q" }'
        'layers { layer { name: "m" type: "pool" kernelsize: 3 pool: AVE } bottom: "q" top: "m" }',
        'layer { name: "input" type: "Input" top: "d" input_param { shape { dim: [1, 2, 3, 4] } } }'
        'layer { name: "m" type: "Pooling" bottom: "d" top: "m"'
        "  pooling_param { pad: 2 kernel_size: 3 pool: AVE } }",
    ),
    "V0 fields that the type does not have": (
        'layers { layer { name: "r" type: "relu" num_output: 5 stride: 2 } }',
        'layer { name: "r" type: "ReLU" }',
    ),
}


@pytest.mark.parametrize("before, after", EQUAL.values(), ids=EQUAL)
def test_upgrade_by_hand(before, after):
    assert upgrade(net(before)) == net(after)


REFUSED = {
    "layer and layers": ('layer { name: "a" } layers { name: "b" }', "'layer'.*'layers'"),
    "V0 types": (
        'layers { layer { name: "a" type: "foo" } } layers { layer { name: "b" type: "bar" } }',
        "'foo' \\(layer 'a'\\), 'bar' \\(layer 'b'\\)",
    ),
    "V0 and V1 layers": (
        'layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }',
        "layer 'b' is of 2014",
    ),
    "padding before a dense layer": (
        'input: "d" layers { layer { name: "p" type: "padding" } bottom: "d" top: "q" }'
        'layers { layer { name: "ip" type: "innerproduct" } bottom: "q" top: "r" }',
        "layer 'ip' \\(innerproduct\\): a padding",
    ),
    "unknown bottom in V0": (
        'layers { layer { name: "r" type: "relu" } bottom: "zz" top: "r" }',
        "Unknown bottom blob 'zz' \\(layer 'r'\\)",
    ),
    "too few input_dim": ('input: "a" input: "b" input_dim: [1, 2, 3, 4]', "2 inputs, but 4"),
    "too few input_shape": ('input: "a" input: "b" input_shape {}', "2 inputs, but 1"),
}


@pytest.mark.parametrize("text, message", REFUSED.values(), ids=REFUSED)
def test_upgrade_refuses(text, message):
    with pytest.raises(CaffeCompatError, match=message):
        upgrade(net(text))


def test_upgrade_solver():
    old = SolverParameter(base_lr=0.5, solver_type="ADAGRAD")
    assert upgrade_solver(old) == SolverParameter(base_lr=0.5, type="AdaGrad")
    assert old.HasField("solver_type")
    both = SolverParameter(type="SGD", solver_type="SGD")
    with pytest.raises(CaffeCompatError, match="not both"):
        upgrade_solver(both)
