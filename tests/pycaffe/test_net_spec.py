"""Nets written in Python, and how their coordinates relate."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

import caffe_compat.pycaffe as caffe
from caffe_compat.pycaffe import coord_map
from caffe_compat.pycaffe.proto import caffe_pb2

L, P = caffe.layers, caffe.params


def lenet():
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(
        shape=[{"dim": [4, 1, 28, 28]}, {"dim": [4]}], transform_param={"scale": 0.5}, ntop=2
    )
    n.conv1 = L.Convolution(
        n.data,
        kernel_size=5,
        num_output=20,
        weight_filler={"type": "xavier"},
        param=[{"lr_mult": 1}, {"lr_mult": 2}],
    )
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=10, weight_filler={"type": "xavier"})
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu1, n.label, loss_weight=2)
    return n


def test_a_net_is_the_prototxt_that_it_says():
    want = text_format.Parse(
        """
        layer { name: 'data' type: 'DummyData' top: 'data' top: 'label'
          transform_param { scale: 0.5 }
          dummy_data_param { shape { dim: 4 dim: 1 dim: 28 dim: 28 } shape { dim: 4 } } }
        layer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'conv1'
          param { lr_mult: 1 } param { lr_mult: 2 }
          convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: 'xavier' } } }
        layer { name: 'pool1' type: 'Pooling' bottom: 'conv1' top: 'pool1'
          pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
        layer { name: 'ip1' type: 'InnerProduct' bottom: 'pool1' top: 'ip1'
          inner_product_param { num_output: 10 weight_filler { type: 'xavier' } } }
        layer { name: 'relu1' type: 'ReLU' bottom: 'ip1' top: 'ip1' }
        layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip1' bottom: 'label' top: 'loss'
          loss_weight: 2 }""",
        caffe_pb2.NetParameter(),
    )
    assert lenet().to_proto() == want


def test_its_text_is_a_net(build):
    net = build(str(lenet().to_proto()), caffe.TRAIN)
    assert net.outputs == ["loss"]
    assert np.isfinite(net.forward()["loss"])


def test_names_are_counted_by_type_where_none_is_given():
    data = L.Input(shape={"dim": [1, 3]})
    a, b = L.TanH(data), L.TanH(data)
    net = caffe.to_proto(L.Eltwise(a, b))
    assert [(layer.name, *layer.top) for layer in net.layer] == [
        ("Input1", "Input1"),
        ("TanH1", "TanH1"),
        ("TanH2", "TanH2"),
        ("Eltwise1", "Eltwise1"),
    ]
    assert a.to_proto().layer[-1].name == "TanH1"


def test_layers_without_tops_and_items():
    n = caffe.NetSpec()
    n["a/b"] = L.Input(shape={"dim": 3})
    n.end = L.Silence(n["a/b"], ntop=0)
    assert [layer.name for layer in n.to_proto().layer] == ["a/b", "end"]
    assert list(n.tops) == ["a/b", "end"]


def test_an_input_that_is_no_top_is_refused():
    data = L.DummyData(ntop=2)
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is .*tuple'>\)$"):
        L.Silence(data, ntop=0)


def test_constants_of_messages():
    assert (P.Pooling.MAX, P.Pooling.AVE, P.Eltwise.SUM) == (0, 1, 1)
    assert P.Data.LMDB == 1


# -- coordinates -----------------------------------------------------------------------------


def spec(kernel=3, stride=1, pad=0, pool=2, up=2, up_pad=0):
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [2, 1, 100, 100]})
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=kernel, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, pool=P.Pooling.MAX, kernel_size=pool, stride=pool)
    n.up = L.Deconvolution(
        n.pool, num_output=10, kernel_size=np.multiply(up, 2).tolist(), stride=up, pad=up_pad
    )
    return n


def test_the_map_of_a_chain_is_its_arithmetic():
    n = spec()
    assert coord_map.coord_map_from_to(n.up, n.data) == (1, 1, 0)
    n = spec(pool=4, up=4)
    assert coord_map.coord_map_from_to(n.up, n.data) == (1, 1, -1)
    n = spec(pad=7)
    assert coord_map.coord_map_from_to(n.up, n.data)[2] == -7
    n = spec(up_pad=7)
    assert coord_map.coord_map_from_to(n.up, n.data)[2] == 7


def test_axes_may_differ():
    n = spec(kernel=[3, 5], stride=[1, 2], pad=[0, 10])
    _, scale, shift = coord_map.coord_map_from_to(n.up, n.data)
    for i, one in enumerate((spec(3, 1, 0), spec(5, 2, 10))):
        _, s, b = coord_map.coord_map_from_to(one.up, one.data)
        assert (scale[i], shift[i]) == (s, b)


def test_layers_that_leave_coordinates_alone():
    n = spec()
    n.relu = L.ReLU(n.up)
    n.sum = L.Eltwise(n.relu, n.up)
    assert coord_map.coord_map_from_to(n.sum, n.data) == coord_map.coord_map_from_to(n.up, n.data)


def test_crop_is_found_by_the_maps():
    n = spec(pad=10)
    layer = coord_map.crop(n.up, n.data).fn
    assert (layer.type_name, layer.params) == ("Crop", {"crop_param": {"axis": 2, "offset": [10]}})
    n.cut = L.Crop(n.up, n.data, axis=2, offset=4)
    assert coord_map.coord_map_from_to(n.cut, n.data)[2] == -6


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (spec(pool=3), "scale mismatch"),
        (spec(up_pad=10), "negative"),
        (spec(4, pad=7), "noninteger"),
    ],
)
def test_what_cannot_be_cropped(n, words):
    with pytest.raises(AssertionError, match=words):
        coord_map.crop(n.up, n.data)


def test_tops_that_no_map_connects():
    n = spec()
    n.ip = L.InnerProduct(n.up, num_output=10)
    with pytest.raises(RuntimeError, match="Could not compute map between tops"):
        coord_map.coord_map_from_to(n.ip, n.data)
    with pytest.raises(AssertionError, match="legacy _h/_w params"):
        coord_map.coord_map(L.Convolution(n.data, kernel_size=3, pad_h=1).fn)
    with pytest.raises(coord_map.AxisMismatchException):
        coord_map.compose((1, 1, 0), (2, 1, 0))


def test_a_spec_has_ssds_methods_where_no_blob_has_the_name():
    n = caffe.NetSpec()
    n.data = caffe.layers.Input(shape={"dim": [1, 3]})
    n.ip = caffe.layers.InnerProduct(n.data, num_output=2)
    assert (n.keys(), n.vals()) == (["data", "ip"], [n.data, n.ip])
    n.update("ip", {"num_output": 5})
    assert n.to_proto().layer[1].inner_product_param.num_output == 5
    n.keys = n.ip
    assert n.keys is n.ip
    del n["keys"]
    assert n.keys() == ["data", "ip"]
