"""Small prototxts, written to files as scripts have them."""

from __future__ import annotations

SIMPLE = """
name: 'simple'
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: 'msra' } } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }
layer { name: 'ip' type: 'InnerProduct' bottom: 'conv' top: 'ip'
  inner_product_param { num_output: 3 weight_filler { type: 'xavier' } } }
layer { name: 'prob' type: 'Softmax' bottom: 'ip' top: 'prob' }
"""

BATCH_NORM = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }
layer { name: 'bn' type: 'BatchNorm' bottom: 'data' top: 'bn' }
layer { name: 'scale' type: 'Scale' bottom: 'bn' top: 'bn' scale_param { bias_term: true } }
layer { name: 'prelu' type: 'PReLU' bottom: 'bn' top: 'bn' }
"""

LSTM = """
layer { name: 'data' type: 'Input' top: 'x' top: 'cont'
  input_param { shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } } }
layer { name: 'lstm' type: 'LSTM' bottom: 'x' bottom: 'cont' top: 'h'
  recurrent_param { num_output: 5 weight_filler { type: 'uniform' min: -0.5 max: 0.5 } } }
"""

PYTHON = """
force_backward: true
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 3 } } }
layer { name: 'own' type: 'Python' bottom: 'data' top: 'out'
  python_param { module: '%s' layer: '%s' param_str: '{"by": 10}' } }
"""

LAYERS = """
import json
import caffe

class Times(caffe.Layer):
    def setup(self, bottom, top):
        self.by = json.loads(self.param_str)["by"]
        self.reshaped = 0
    def reshape(self, bottom, top):
        self.reshaped += 1
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        top[0].data[...] = self.by * bottom[0].data
    def backward(self, top, propagate_down, bottom):
        assert propagate_down == [True]
        bottom[0].diff[...] = self.by * top[0].diff

class Learns(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(3)
        self.blobs[0].data[...] = [1, 2, 3]
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data
    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(0)

class Phase(Times):
    def forward(self, bottom, top):
        top[0].data[...] = self.phase

class Fails(caffe.Layer):
    def setup(self, bottom, top):
        raise KeyError(5)

class NoLayer:
    pass
"""
