"""Small sessions with live nets, run by a real pycaffe once (recorded) and by this package's.

With a real pycaffe on the path, `python tests/pycaffe/scenarios.py` writes
tests/golden/pycaffe/*.npz: what Caffe 1.0 (BVLC, 9b891540; CPU) computed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden/pycaffe"

IN_PLACE = {
    "relu": "type: 'ReLU'",
    "relu_negative": "type: 'ReLU' relu_param { negative_slope: -0.3 }",
    "relu_positive": "type: 'ReLU' relu_param { negative_slope: 0.3 }",
    "sigmoid": "type: 'Sigmoid'",
    "tanh": "type: 'TanH'",
    "elu": "type: 'ELU' elu_param { alpha: 0.7 }",
    "elu_negative": "type: 'ELU' elu_param { alpha: -0.7 }",
    "bnll": "type: 'BNLL'",
    "clip": "type: 'Clip' clip_param { min: -0.5 max: 0.5 }",
    "power_1": "type: 'Power' power_param { scale: 0.5 shift: 2 }",
    "power_2": "type: 'Power' power_param { power: 2 scale: 0.5 shift: 2 }",
    "power_3": "type: 'Power' power_param { power: 3 scale: 0.5 shift: 20 }",
    "power_3_plain": "type: 'Power' power_param { power: 3 scale: 0.5 }",
    "power_0": "type: 'Power' power_param { power: 0 scale: 0.5 }",
    "exp": "type: 'Exp' exp_param { base: 2 scale: 0.1 }",
    "log": "type: 'Log' log_param { base: 2 scale: 0.1 shift: 9 }",
    "softmax": "type: 'Softmax'",
    "swish": "type: 'Swish'",
    "prelu": "type: 'PReLU'",
    "scale": "type: 'Scale' scale_param { bias_term: true filler { type: 'gaussian' std: 1 } }",
    "scale_all": "type: 'Scale' scale_param { axis: 0 num_axes: -1 filler { type: 'gaussian' } }",
    "bias": "type: 'Bias' bias_param { filler { type: 'gaussian' std: 1 } }",
    "mvn": "type: 'MVN'",
    "mvn_mean": "type: 'MVN' mvn_param { normalize_variance: false }",
    "mvn_across": "type: 'MVN' mvn_param { across_channels: true }",
    "batch_norm": "type: 'BatchNorm' batch_norm_param { use_global_stats: false }",
    "batch_norm_stored": "type: 'BatchNorm'",
}

_CHAIN = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false
    weight_filler { type: 'msra' } } }
layer { name: 'x' bottom: 'conv' top: 'conv' %s }
layer { name: 'flat' type: 'Flatten' bottom: 'conv' top: 'flat' }
layer { name: 'ip' type: 'InnerProduct' bottom: 'flat' top: 'ip'
  inner_product_param { num_output: 5 weight_filler { type: 'xavier' } } }
"""

_PRODUCT = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'a' top: 'b' top: 'c'
  input_param { shape { dim: 2 dim: 3 } } }
layer { name: 'x' type: 'Eltwise' bottom: 'a' bottom: 'b' bottom: 'c' top: 'a'
  eltwise_param { operation: PROD stable_prod_grad: %s } }
"""

_SHARED = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'c'
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: 'gaussian' std: 1 } } }
layer { name: 'flat' type: 'Flatten' bottom: 'c' top: 'flat' }
layer { name: 'relu' type: 'ReLU' bottom: 'flat' top: 'flat' }
layer { name: 's' type: 'Sigmoid' bottom: 'c' top: 's' }
layer { name: 're' type: 'Reshape' bottom: 's' top: 're'
  reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: 'tanh' type: 'TanH' bottom: 're' top: 're' }
layer { name: 'cut' type: 'Slice' bottom: 'data' top: 'p' top: 'q' top: 'r'
  slice_param { axis: 1 } }
layer { name: 'prod' type: 'Eltwise' bottom: 'p' bottom: 'q' bottom: 'r' top: 'p'
  eltwise_param { operation: PROD } }
"""

OVERWRITTEN = {
    "lrn": "type: 'LRN'",
    "lrn_within": "type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }",
    "mvn": "type: 'MVN'",
    "power": "type: 'Power' power_param { power: 3 scale: 0.5 shift: 9 }",
    "power_2": "type: 'Power' power_param { power: 2 scale: 0.5 shift: 9 }",
    "swish": "type: 'Swish' swish_param { beta: 0.7 }",
    "sigmoid": "type: 'Sigmoid'",
    "elu": "type: 'ELU'",
    "softmax": "type: 'Softmax'",
    "product": "type: 'Eltwise' bottom: 'other' eltwise_param { operation: PROD }",
    "quotient": (
        "type: 'Eltwise' bottom: 'other' eltwise_param { operation: PROD stable_prod_grad: false }"
    ),
}

_BEFORE = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'data' top: 'other'
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 2 } } }
layer { name: 'x' bottom: 'data' top: 'x' %s }
layer { name: 'bias' type: 'Bias' bottom: 'x' top: 'x'
  bias_param { filler { type: 'constant' value: 0.7 } } }
layer { name: 'out' type: 'Power' bottom: 'x' top: 'out' power_param { scale: -1 } }
"""

_ANEW = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 3 dim: 4 dim: 2 } } }
layer { name: 'scale' type: 'Scale' bottom: 'data' top: 'x' scale_param { bias_term: true } }
layer { name: 'value' type: 'Parameter' top: 'value' parameter_param { shape { dim: 3 } } }
layer { name: 'bias' type: 'Bias' bottom: 'x' bottom: 'value' top: 'y' }
layer { name: 'all' type: 'Scale' bottom: 'y' top: 'z'
  scale_param { axis: 0 num_axes: -1 bias_term: true } }
layer { name: 'shared' type: 'Scale' bottom: 'z' top: 'z' param { name: 'w' } }
layer { name: 'again' type: 'Scale' bottom: 'z' top: 'out' param { name: 'w' } }
"""

_TRAIN = """
name: 'train'
layer { name: 'data' type: 'DummyData' top: 'data' top: 'label'
  dummy_data_param { shape { dim: 4 dim: 2 dim: 6 dim: 5 } shape { dim: 4 }
    data_filler { type: 'gaussian' std: 1 } data_filler { type: 'constant' value: 2 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false
    weight_filler { type: 'msra' } } }
layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv' }
layer { name: 'scale' type: 'Scale' bottom: 'conv' top: 'conv' scale_param { bias_term: true } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }
layer { name: 'drop' type: 'Dropout' bottom: 'conv' top: 'conv'
  dropout_param { dropout_ratio: 0.3 } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'conv' top: 'ip'
  inner_product_param { num_output: 5 weight_filler { type: 'xavier' } } }
layer { name: 'ip2' type: 'InnerProduct' bottom: 'conv' top: 'ip2'
  inner_product_param { num_output: 5 weight_filler { type: 'gaussian' std: 0.1 } } }
layer { name: 'sum' type: 'Eltwise' bottom: 'ip' bottom: 'ip2' top: 'sum' }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'sum' bottom: 'label' top: 'loss'
  loss_weight: 0.5 }
layer { name: 'accuracy' type: 'Accuracy' bottom: 'sum' bottom: 'label' top: 'accuracy' }
layer { name: 'apart' type: 'EuclideanLoss' bottom: 'ip' bottom: 'ip2' top: 'apart'
  loss_weight: 0.1 }
"""


class Record(dict):
    """Arrays by name, copied as they are at that moment."""

    def net(self, name, net, *, parameters=False):
        """Note every blob's data and gradient, and every parameter's gradient."""
        for blob, live in net.blobs.items():
            self[f"{name}:data:{blob}"] = live.data.copy()
            self[f"{name}:diff:{blob}"] = live.diff.copy()
        for layer, blobs in net.params.items():
            for i, live in enumerate(blobs):
                self[f"{name}:paramdiff:{layer}:{i}"] = live.diff.copy()
                if parameters:
                    self[f"{name}:param:{layer}:{i}"] = live.data.copy()


def build(caffe, text, phase):
    """A net of a prototxt's text."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt", delete=False) as file:
        file.write(text)
    try:
        return caffe.Net(file.name, phase)
    finally:
        os.remove(file.name)  # noqa: PTH107 - a real pycaffe's Python may be an old one


def in_place(caffe):
    """Each layer in place: forward, and backward twice."""
    record = Record()
    caffe.set_random_seed(7)
    for name, layer in IN_PLACE.items():
        net = build(caffe, _CHAIN % layer, caffe.TEST)
        rng = np.random.RandomState(3)
        net.blobs["data"].data[...] = rng.randn(*net.blobs["data"].data.shape)
        if name == "batch_norm_stored":
            for blob, value in zip(net.params["x"], (rng.randn(4), rng.rand(4) + 1, 3)):  # noqa: B905 - any Python
                blob.data[...] = value
        net.forward()
        net.blobs["ip"].diff[...] = rng.randn(2, 5)
        net.backward()
        record.net(f"{name}:1", net, parameters=True)
        net.backward()
        record.net(f"{name}:2", net)
    return record


def products(caffe):
    """Eltwise PROD in place, its gradient by division or not."""
    record = Record()
    for stable in ("true", "false"):
        net = build(caffe, _PRODUCT % stable, caffe.TEST)
        rng = np.random.RandomState(3)
        for blob in net.blobs.values():
            blob.data[...] = rng.randn(2, 3)
        net.forward()
        net.blobs["a"].diff[...] = rng.randn(2, 3)
        net.backward()
        record.net(stable, net)
    return record


def shared_memory(caffe):
    """Blobs that are one memory, a layer in place on one of them, other shapes in turn."""
    record = Record()
    caffe.set_random_seed(5)
    net = build(caffe, _SHARED, caffe.TEST)
    rng = np.random.RandomState(3)
    for i, shape in enumerate([(2, 3, 4, 5), (1, 3, 4, 5), (3, 3, 6, 2), (2, 3, 4, 5)]):
        net.blobs["data"].reshape(*shape)
        net.blobs["data"].data[...] = rng.randn(*shape)
        net.forward()
        for name in net.outputs:
            net.blobs[name].diff[...] = rng.randn(*net.blobs[name].data.shape)
        net.backward()
        record.net(str(i), net)
    return record


def overwritten_tops(caffe):
    """Layers whose top a layer in place overwrites, which some read in their backward."""
    record = Record()
    for name, layer in OVERWRITTEN.items():
        net = build(caffe, _BEFORE % layer, caffe.TEST)
        rng = np.random.RandomState(3)
        for blob in ("data", "other"):
            net.blobs[blob].data[...] = rng.randn(2, 3, 4, 2)
        net.forward()
        net.blobs["out"].diff[...] = rng.randn(2, 3, 4, 2)
        net.backward()
        for blob in ("data", "other"):
            record[f"{name}:diff:{blob}"] = net.blobs[blob].diff.copy()
    return record


def written_anew(caffe):
    """Gradients of parameters that are not added to those of the passes before, of one image."""
    record = Record()
    net = build(caffe, _ANEW, caffe.TEST)
    rng = np.random.RandomState(3)
    for i in range(2):
        net.blobs["data"].data[...] = rng.randn(1, 3, 4, 2)
        for blobs in net.params.values():
            for blob in blobs:
                blob.data[...] = rng.randn(*blob.data.shape)
        net.forward()
        net.blobs["out"].diff[...] = rng.randn(1, 3, 4, 2)
        net.backward()
        record.net(str(i), net)
    return record


def training(caffe):
    """A TRAIN net by its seed: what is drawn, the statistics, parts of passes, the label edited."""
    record = Record()
    caffe.set_random_seed(11)
    net = build(caffe, _TRAIN, caffe.TRAIN)
    last = len(net.layers) - 1
    for i in range(3):
        record[f"loss:{i}"] = np.float32(net._forward(0, last))
        net.backward()
        record.net(f"pass:{i}", net, parameters=True)
    net.clear_param_diffs()
    net.forward(start="conv", end="relu")
    net.backward(start="sum", end="ip")
    record.net("part", net)
    net.blobs["label"].data[...] = [0, 1, 2, 3]
    net.forward()
    record.net("label", net)
    test = build(caffe, _TRAIN, caffe.TEST)
    test.forward()
    test.backward()
    record.net("test", test, parameters=True)
    return record


SCENARIOS = (in_place, products, shared_memory, overwritten_tops, written_anew, training)


def main():
    """Record every scenario with the caffe that Python imports."""
    import caffe

    caffe.set_mode_cpu()
    GOLDEN.mkdir(exist_ok=True)
    for scenario in SCENARIOS:
        np.savez_compressed(GOLDEN / f"{scenario.__name__}.npz", **scenario(caffe))


if __name__ == "__main__":
    sys.exit(main())
