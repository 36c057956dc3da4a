"""Crop without an offset: aligned as FCN's Caffe does, at 0 as BVLC's, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import load, read
from caffe_compat.errors import UnsupportedError
from caffe_compat.onnx.lowering import lower

from ..cases import REPORTS, check_both, feed

HED = REPORTS / "02_hed_crop"


def crops(net):
    return [n.layer for n in net.graph.nodes if n.layer.proto.type == "Crop"]


def test_an_offset_on_which_forks_differ_is_refused_where_values_are_computed():
    net = load(HED / "net.prototxt")
    assert read(HED / "net.prototxt").blob("cat").shape == (1, 2, 40, 48)
    message = r"layer 'crop' \(Crop\): has no offset: .* at \(34, 34\); name the fork"
    with pytest.raises(UnsupportedError, match=message) as error:
        net.forward(feed(net))
    assert error.value.remedies == ("fork",)
    with pytest.raises(UnsupportedError, match=message):
        lower(net)


def test_the_aligned_offsets_are_those_of_the_prototxt_that_has_them():
    aligned, plain = load(HED / "aligned.prototxt"), load(HED / "net.prototxt", fork="fcn")
    assert [layer.aligned for layer in crops(plain)] == [(34, 34), (35, 35)]
    feeds = feed(plain)
    want, got = aligned.forward(feeds)["cat"], plain.forward(feeds)["cat"]
    np.testing.assert_array_equal(got, want)
    cut = load(HED / "net.prototxt", fork="bvlc").forward(feeds)["cat"]
    assert not np.array_equal(cut, want)


@pytest.mark.parametrize("fork", ["fcn", "bvlc", "Crop=fcn", "crop=fcn,Proposal=pvanet"])
def test_both_are_lowered(fork):
    check_both((HED / "net.prototxt").read_text(), fork=fork)


def test_a_fork_of_a_type_leaves_the_others():
    net = load(HED / "net.prototxt", fork="Proposal=pvanet")
    with pytest.raises(UnsupportedError, match="name the fork"):
        net.forward(feed(net))
    with pytest.raises(UnsupportedError, match="no fork 'fnc' is known"):
        load(HED / "net.prototxt", fork="Crop=fnc")


def test_crops_on_which_forks_agree_need_no_fork():
    check_both(
        'input: "a" input_dim: 1 input_dim: 2 input_dim: 6 input_dim: 8'
        ' layer { name: "p" type: "Pooling" bottom: "a" top: "p" pooling_param { kernel_size: 2'
        " stride: 2 } } "
        'layer { name: "u" type: "Deconvolution" bottom: "p" top: "u" convolution_param {'
        ' num_output: 2 kernel_size: 2 stride: 2 weight_filler { type: "xavier" } } }'
        ' layer { name: "y" type: "Crop" bottom: "a" bottom: "u" top: "y" }'
    )
