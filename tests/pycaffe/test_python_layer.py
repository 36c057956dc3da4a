"""Layers of the user's own, run by name."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.errors import UnsupportedError

from .nets import PYTHON


def test_forward_backward_and_what_it_is_told(build, own_layers):
    net = build(PYTHON % (own_layers, "Times"), caffe.TRAIN)
    x = net.blobs["data"].data.copy()
    assert np.allclose(net.forward()["out"], 10 * x)
    net.blobs["out"].diff[...] = 7
    assert (net.backward()["data"] == 70).all()
    layer = net.layers[1]
    assert layer.type == "Python"
    assert isinstance(layer, caffe.Layer)
    assert layer.param_str == layer.param_str_ == '{"by": 10}'


def test_reshape_is_called_before_every_forward(build, own_layers):
    net = build(PYTHON % (own_layers, "Times"))
    calls = net.layers[1].reshaped
    net.forward()
    net.forward()
    assert net.layers[1].reshaped == calls + 2
    net.blobs["data"].reshape(4, 2, 2)
    net.forward()
    assert net.blobs["out"].data.shape == (4, 2, 2)


def test_its_parameters_are_saved_loaded_and_shared(build, own_layers, tmp_path):
    net, path = build(PYTHON % (own_layers, "Learns")), str(tmp_path / "w.caffemodel")
    net.forward()
    net.blobs["out"].diff[...] = 1
    net.backward()
    assert np.allclose(net.params["own"][0].diff, net.blobs["data"].data.sum(0))
    net.save(path)
    net.params["own"][0].data[...] = 0
    net.copy_from(path)
    assert net.params["own"][0].data.tolist() == [1, 2, 3]
    other = build(PYTHON % (own_layers, "Learns"))
    other.share_with(net)
    net.params["own"][0].data[...] = 5
    assert (other.params["own"][0].data == 5).all()


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_phase_is_a_number_that_py_faster_rcnn_reads_by_name(build, own_layers, phase):
    net = build(PYTHON % (own_layers, "Phase"), phase)
    assert (net.forward()["out"] == phase).all()
    assert str(net.layers[1].phase) == ("TRAIN" if phase == caffe.TRAIN else "TEST")


def test_its_errors_reach_the_script_as_they_are(build, own_layers):
    with pytest.raises(KeyError, match="5"):
        build(PYTHON % (own_layers, "Fails"))
    with pytest.raises(ModuleNotFoundError, match="nomod"):
        build(PYTHON % ("nomod", "Times"))
    with pytest.raises(AttributeError, match="Absent"):
        build(PYTHON % (own_layers, "Absent"))


@pytest.mark.parametrize(("module", "name"), [("own_layers", "NoLayer"), ("os", "system")])
def test_only_subclasses_of_layer_are_run(build, own_layers, module, name):
    with pytest.raises(UnsupportedError, match=r"layer 'own'.*no subclass of caffe.Layer"):
        build(PYTHON % (module, name))


def test_elsewhere_nothing_is_run_by_name(tmp_path, own_layers):
    from caffe_compat import load

    (tmp_path / "net.prototxt").write_text(PYTHON % (own_layers, "Times"))
    with pytest.raises(UnsupportedError, match="Python code"):
        load(tmp_path / "net.prototxt")


def test_a_layer_that_this_package_knows_is_the_scripts_own_where_it_has_one(
    build, tmp_path, monkeypatch
):
    text = """
layer { name: 'data' type: 'Input' top: 'scores' top: 'deltas' top: 'info'
  input_param { shape { dim: 1 dim: 18 dim: 3 dim: 4 } shape { dim: 1 dim: 36 dim: 3 dim: 4 }
    shape { dim: 1 dim: 3 } } }
layer { name: 'proposal' type: 'Python' bottom: 'scores' bottom: 'deltas' bottom: 'info' top: 'rois'
  python_param { module: 'own_rpn.proposal_layer' layer: 'ProposalLayer'
    param_str: "'feat_stride': 16" } }
"""
    known = build(text.replace("own_rpn", "rpn")).layer_dict["proposal"]
    (tmp_path / "own_rpn").mkdir()
    (tmp_path / "own_rpn/proposal_layer.py").write_text(
        "import caffe_compat.pycaffe as caffe\n"
        "class ProposalLayer(caffe.Layer):\n"
        "    def setup(self, bottom, top): top[0].reshape(1, 5)\n"
        "    def reshape(self, bottom, top): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = build(text).layer_dict["proposal"]
    assert type(known) is caffe.Layer
    assert type(own).__name__ == "ProposalLayer"
