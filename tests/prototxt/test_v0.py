"""Nets of 2013; Caffe's own upgrades of them are in test_upgrade."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.prototxt.parser import parse
from caffe_compat.prototxt.upgrade import upgrade


def net(text):
    return parse(text, NetParameter)


EQUAL = {
    "padding before a pooling": (
        'input: "d" input_dim: [1, 2, 3, 4]'
        'layers { layer { name: "p" type: "padding" pad: 2 } bottom: "d" top: "q" }'
        'layers { layer { name: "m" type: "pool" kernelsize: 3 pool: AVE } bottom: "q" top: "m" }',
        'layer { name: "input" type: "Input" top: "d" input_param { shape { dim: [1, 2, 3, 4] } } }'
        'layer { name: "m" type: "Pooling" bottom: "d" top: "m"'
        "  pooling_param { pad: 2 kernel_size: 3 pool: AVE } }",
    ),
    "V0 fields that the type does not have": (
        'layers { layer { name: "r" type: "relu" num_output: 5 stride: 2 } }',
        'layer { name: "r" type: "ReLU" }',
    ),
}


@pytest.mark.parametrize("before, after", EQUAL.values(), ids=EQUAL)
def test_upgrade_by_hand(before, after):
    assert upgrade(net(before)) == net(after)


REFUSED = {
    "V0 types": (
        'layers { layer { name: "a" type: "foo" } } layers { layer { name: "b" type: "bar" } }',
        "'foo' \\(layer 'a'\\), 'bar' \\(layer 'b'\\)",
    ),
    "V0 and V1 layers": (
        'layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }',
        "layer 'b' is of 2014",
    ),
    "padding before a dense layer": (
        'input: "d" layers { layer { name: "p" type: "padding" } bottom: "d" top: "q" }'
        'layers { layer { name: "ip" type: "innerproduct" } bottom: "q" top: "r" }',
        "layer 'ip' \\(innerproduct\\): a padding",
    ),
    "a number without a place": (
        'layers { layer { name: "im" type: "images" source: "a" new_height: -1 } top: "d" }',
        "^layer 'im' \\(images\\): new_height is -1, and new_height of ImageDataParameter is a "
        "whole number of 0 to 4294967295$",
    ),
    "unknown bottom in V0": (
        'layers { layer { name: "r" type: "relu" } bottom: "zz" top: "r" }',
        "Unknown bottom blob 'zz' \\(layer 'r'\\)",
    ),
}


@pytest.mark.parametrize("text, message", REFUSED.values(), ids=REFUSED)
def test_refused(text, message):
    with pytest.raises(CaffeCompatError, match=message):
        upgrade(net(text))
