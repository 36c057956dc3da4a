"""Nets of 2014; Caffe's own upgrades of them are in test_upgrade."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import NetParameter, V1LayerParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.prototxt.parser import parse
from caffe_compat.prototxt.upgrade import upgrade
from caffe_compat.prototxt.v1 import move_transforms


def net(text):
    return parse(text, NetParameter)


V2_NAMES = """AbsVal Accuracy ArgMax BNLL Concat ContrastiveLoss Convolution Data Deconvolution
Dropout DummyData EuclideanLoss Eltwise Exp Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData
InfogainLoss InnerProduct LRN MemoryData MultinomialLogisticLoss MVN Pooling Power ReLU Sigmoid
SigmoidCrossEntropyLoss Silence Softmax SoftmaxWithLoss Split Slice TanH WindowData Threshold"""
FORKS = """AutoCrop BN Convolution3D Insanity Interp MultiStageMeanfield Padding Pooling3D PReLU
ROIPooling SmoothL1Loss Unpooling"""


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
}


@pytest.mark.parametrize("before, after", EQUAL.values(), ids=EQUAL)
def test_upgrade_by_hand(before, after):
    assert upgrade(net(before)) == net(after)


REFUSED = {
    "layer and layers": ('layer { name: "a" } layers { name: "b" }', "'layer'.*'layers'"),
}


@pytest.mark.parametrize("text, message", REFUSED.values(), ids=REFUSED)
def test_refused(text, message):
    with pytest.raises(CaffeCompatError, match=message):
        upgrade(net(text))


def test_fields_of_data_layers_move_and_the_net_is_not_changed():
    old = net(
        'layers { name: "a" type: DATA data_param { scale: 0.5 crop_size: 7 batch_size: 3 } }'
        'layers { name: "b" type: IMAGE_DATA image_data_param { batch_size: 2 } }'
    )
    copy = NetParameter.FromString(old.SerializeToString())
    new = move_transforms(old)
    assert old == copy
    assert new == net(
        'layers { name: "a" type: DATA data_param { batch_size: 3 }'
        "  transform_param { scale: 0.5 crop_size: 7 } }"
        'layers { name: "b" type: IMAGE_DATA image_data_param { batch_size: 2 }'
        "  transform_param {} }"
    )
