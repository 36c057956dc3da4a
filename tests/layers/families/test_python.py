"""Python layers: refused, or supplied by the caller."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat
from caffe_compat.errors import UnsupportedError
from caffe_compat.layers.layer import Layer

from ...cases import assert_close, check_both, feed, graph_of, make


def layer(kind, tops, body="", bottoms="", name="l"):
    names = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "{name}" type: "{kind}" {names} {body} }}\n'


X = layer("Input", "x", "input_param { shape { dim: 3 dim: 4 } }", name="x")


PYTHON = X + layer(
    "Python", "y", 'python_param { module: "no.such.module" layer: "Double" param_str: "2.5" }', "x"
)


def test_a_python_layer_is_refused():
    with pytest.raises(UnsupportedError) as error:
        graph_of(PYTHON)
    message = str(error.value)
    assert message.startswith("layer 'l' (Python): module 'no.such.module', class 'Double'")
    assert 'caffe_compat.register(module="no.such.module", layer="Double")' in message
    assert error.value.remedies == ("register",)


def test_a_python_layer_of_the_caller(monkeypatch):
    monkeypatch.setattr("caffe_compat.layers.registry._python", {})

    @caffe_compat.register(module="no.such.module", layer="Double")
    class Double(Layer):
        """param_str times the bottom."""

        def forward(self, x):
            return np.float32(self.p.param_str) * x

        def backward(self, dy, x):
            return np.float32(self.p.param_str) * dy

        def lower(self, g, x):
            return g.Mul(x, np.float32(self.p.param_str))

    made = make(PYTHON)
    feeds = feed(made)
    assert_close(check_both(PYTHON)["y"], 2.5 * feeds["x"])
    grads, _ = made.backward(made.run(feeds), {"y": feeds["x"]})
    assert_close(grads["x"], 2.5 * feeds["x"])
    with pytest.raises(UnsupportedError, match="class 'Triple'"):
        graph_of(PYTHON.replace("Double", "Triple"))
