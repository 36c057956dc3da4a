"""Gradients by PyTorch beside numpy's, from the same blobs."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.pycaffe import engine
from caffe_compat.pycaffe.gradients import dense

pytest.importorskip("torch")

_LAYERS = {
    "pointwise": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1"
    " weight_filler { type: 'msra' } }",
    "pointwise_no_bias": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1"
    " bias_term: false weight_filler { type: 'msra' } }",
    "pointwise_strided": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1"
    " stride: 2 weight_filler { type: 'msra' } }",
    "convolution": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 pad: 1"
    " stride: 2 weight_filler { type: 'msra' } }",
    "grouped": "type: 'Convolution' convolution_param { num_output: 6 group: 3 kernel_size: 3"
    " weight_filler { type: 'msra' } }",
    "image_strided": "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 pad: 1"
    " stride: 2 weight_filler { type: 'msra' } }",
    "image_kernel_of_squares": "type: 'Convolution' convolution_param { num_output: 4"
    " kernel_h: 4 kernel_w: 2 stride: 2 weight_filler { type: 'msra' } }",
    "image_unreached": "type: 'Convolution' convolution_param { num_output: 4 kernel_h: 2"
    " kernel_w: 1 stride: 4 weight_filler { type: 'msra' } }",
    "inner_product": "type: 'InnerProduct' inner_product_param { num_output: 4"
    " weight_filler { type: 'msra' } }",
    "inner_product_axis_2": "type: 'InnerProduct' inner_product_param { num_output: 4 axis: 2"
    " bias_term: false weight_filler { type: 'msra' } }",
    "inner_product_transpose": "type: 'InnerProduct' inner_product_param { num_output: 4"
    " transpose: true weight_filler { type: 'msra' } }",
    "concat": "type: 'Concat' bottom: 'other' concat_param { axis: 2 }",
    "pooling_ties": "type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 pad: 1 }",
    "pooling_dense": "type: 'Pooling' pooling_param { kernel_size: 3 pad: 1 }",
    "lrn": "type: 'LRN' lrn_param { local_size: 3 alpha: 0.5 }",
    "lrn_power": "type: 'LRN' lrn_param { local_size: 5 alpha: 0.5 beta: 0.6 }",
    "scale": "type: 'Scale' scale_param { bias_term: true filler { type: 'gaussian' std: 1 } }",
    "scale_spatial": "type: 'Scale' scale_param { axis: 2 num_axes: 2 bias_term: true"
    " filler { type: 'gaussian' std: 1 } }",
    "sum": "type: 'Eltwise' bottom: 'other'",
    "weighted_sum": "type: 'Eltwise' bottom: 'other' eltwise_param { coeff: 2 coeff: -0.5 }",
    "batch_norm": "type: 'BatchNorm'",
}

_NET = """
force_backward: true
layer {{ name: 'data' type: 'Input' top: 'data' top: 'other'
  input_param {{ shape {{ dim: 3 dim: {channels} dim: 6 dim: 7 }} }} }}
layer {{ name: 'x' bottom: 'data' top: 'x' {layer} }}
"""


@pytest.mark.parametrize("name", _LAYERS)
def test_pytorch_computes_numpys_gradients(tmp_path, monkeypatch, name):
    path = tmp_path / "net.prototxt"
    channels = 3 if name.startswith(("image", "grouped")) else 5
    path.write_text(_NET.format(layer=_LAYERS[name], channels=channels))
    caffe.set_random_seed(3)
    net = caffe.Net(str(path), caffe.TEST)
    r = np.random.RandomState(0)
    for blob in net.blobs.values():  # few different values, so that maxima tie
        blob.data[...] = r.randint(-3, 4, blob.data.shape)
    if name == "batch_norm":
        net.params["x"][1].data[...] = r.rand(5) + 1
        net.params["x"][2].data[...] = 2
    net.forward()
    flow = r.randn(*net.blobs["x"].data.shape)
    gradients = []
    for by_torch in (False, True):
        monkeypatch.setattr(engine, "TORCH", by_torch)
        net._engine._by_torch = None
        net.clear_param_diffs()
        net.blobs["x"].diff[...] = flow
        net.backward()
        blobs = [net.blobs["data"], net.blobs["other"], *net.params.get("x", [])]
        gradients.append([blob.diff.copy() for blob in blobs])
    for expected, actual in zip(*gradients, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_split_adds_its_tops_gradients(build):
    net = build(
        "force_backward: true layer { name: 'data' type: 'Input' top: 'x'"
        " input_param { shape { dim: 2 dim: 3 } } }"
        + "".join(
            f"layer {{ name: '{y}' type: 'Power' bottom: 'x' top: '{y}'"
            f" power_param {{ scale: {i} }} }}"
            for i, y in enumerate("abc", 2)
        )
    )
    net.forward()
    for name in "abc":
        net.blobs[name].diff[...] = 1
    assert np.array_equal(net.backward()["x"], np.full((2, 3), 2 + 3 + 4))


@pytest.mark.parametrize("transpose", [False, True])
def test_inner_products_weights_in_blocks(build, monkeypatch, transpose):
    monkeypatch.setattr(dense, "_BLOCK", 25)  # several blocks, the last a smaller one
    monkeypatch.setattr(engine, "TORCH", False)
    net = build(
        "force_backward: true layer { name: 'data' type: 'Input' top: 'x'"
        " input_param { shape { dim: 2 dim: 7 } } }"
        "layer { name: 'y' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param {"
        f" num_output: 9 transpose: {str(transpose).lower()} weight_filler {{ type: 'msra' }} }} }}"
    )
    net.forward()
    x, flow = net.blobs["x"].data, np.arange(18, dtype=np.float32).reshape(2, 9)
    net.blobs["y"].diff[...] = flow
    net.params["y"][0].diff[...] = 1
    net.backward()
    dw = flow.T @ x + 1
    assert np.allclose(net.params["y"][0].diff, dw.T if transpose else dw, rtol=1e-5)
    assert np.array_equal(net.params["y"][1].diff, flow.sum(0))
