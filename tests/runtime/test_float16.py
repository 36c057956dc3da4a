"""The pass to float16."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, DeviceError
from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime.float16 import multiplies_in_float16, to_float16
from caffe_compat.runtime.session import Session

from ..cases import feed, make, one_layer


def test_weights_are_float16_and_inputs_stay_float32(net):
    lowered = lower(net)
    half = to_float16(lowered)
    assert {array.dtype for array in half.arrays.values()} == {np.dtype(np.float16)}
    assert not half.model.graph.initializer
    session, feeds = Session(half, "cpu"), feed(net)
    assert set(session.dtypes.values()) == {np.float32}
    want = net.forward(feeds)["prob"]
    outputs = session.run(feeds)["prob"]
    np.testing.assert_allclose(outputs, want, atol=2e-3 * want.max())
    assert not np.array_equal(outputs, Session(lowered, "cpu").run(feeds)["prob"])


def test_the_float32_model_stays_as_it_is(net):
    lowered = lower(net)
    before = lowered.model.SerializeToString()
    arrays = {name: array.copy() for name, array in lowered.arrays.items()}
    to_float16(lowered)
    assert lowered.model.SerializeToString() == before
    for name, array in lowered.arrays.items():
        np.testing.assert_array_equal(array, arrays[name])


def test_the_type_of_the_products(net):
    assert not multiplies_in_float16(lower(net))
    assert multiplies_in_float16(to_float16(lower(net)))
    relu = make(one_layer('type: "ReLU"', (1, 2)))
    assert not multiplies_in_float16(lower(relu))


def test_the_parameters_are_no_longer_caffes(net):
    lowered = lower(net)
    half = to_float16(lowered)
    assert set(half.changed) == lowered.params.keys()
    assert not half.params
    assert half.dims == lowered.dims


def test_the_nodes_are_in_order(net):
    """The passes behind it drop a node that comes after its readers."""
    model = to_float16(lower(net)).model
    known = {value.name for value in model.graph.input}
    known |= set(to_float16(lower(net)).arrays)
    for node in model.graph.node:
        assert known.issuperset(filter(None, node.input)), node.name
        known.update(node.output)


def test_errors_are_plain_and_the_log_is_as_before(net, monkeypatch):
    level = logging.getLogger().level

    def fail(model, **options):
        raise ValueError("inner words")

    monkeypatch.setattr("onnxruntime.transformers.float16.convert_float_to_float16", fail)
    with pytest.raises(
        CaffeCompatError, match="onnxruntime cannot convert the model to float16: inner words"
    ):
        to_float16(lower(net))
    assert logging.getLogger().level == level
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match="not installed here"):
        to_float16(lower(net))


@pytest.mark.parametrize("body", ['type: "Sigmoid"', 'type: "LRN"'])
def test_a_session_on_the_cpu_opens_a_net_without_weights(body):
    """Its types are in its casts alone, so that no float32 form may be written into it."""
    net = make(one_layer(body, (2, 3, 4, 5)))
    feeds = feed(net)
    (half,) = Session(to_float16(lower(net)), "cpu").run(feeds).values()
    np.testing.assert_allclose(half, net.forward(feeds)["y"], atol=2e-3)
