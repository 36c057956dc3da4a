"""The logarithm of a sigmoid, and onnxruntime's own sigmoid beside Caffe's."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify
from caffe_compat.runtime.session import Session

from ...cases import inline, make

X = np.linspace(-34, 34, 4001, dtype=np.float32)[None]
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4001 } } }
layer { name: "s" type: "Sigmoid" bottom: "x" top: "s" }
"""
LOG = 'layer { name: "y" type: "Log" bottom: "s" top: "y" log_param { %s } }'


@pytest.mark.parametrize("base", ["", "base: 2"])
def test_the_logarithm_is_finite_where_caffes_is(base):
    """In onnxruntime's own session, too, which reads the file without this package."""
    net = make(NET + LOG % base)
    model = inline(simplify(lower(net))).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": X})
    want, close = net.forward({"x": X})["y"], X > -25  # below, Caffe's own steps are coarse
    np.testing.assert_allclose(got[close], want[close], rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("more", ["", LOG % "scale: 2"])
def test_a_session_on_the_cpu_has_an_exact_sigmoid(more):
    net = make(NET + more)
    exact = 1 / (1 + np.exp(-X.astype(np.float64)))
    got = Session(net, "cpu", blobs=["s"]).run({"x": X})["s"]
    np.testing.assert_allclose(got, exact, rtol=3e-7)
