"""Blobs that in Caffe are one memory: what it would overwrite is refused.

In a build of real Caffe the AbsVal below gives relu(x) behind the ReLU, and |x| before it, with
each of Flatten, Reshape, Split, Slice and Concat; with Power and Dropout it gives |x|.
"""

from __future__ import annotations

import pytest

from caffe_compat.errors import UnsupportedError

from ..cases import graph_of

DATA = """layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 } } }
layer { name: "pre" type: "Power" bottom: "x" top: "p" }
"""
FLATTEN = 'layer { name: "view" type: "Flatten" bottom: "p" top: "v" }\n'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "v" top: "v" }\n'
ABS = 'layer { name: "abs" type: "AbsVal" bottom: "p" top: "a" }\n'
MESSAGE = r"layer 'relu' \(ReLU\): works in place on 'v', which in Caffe is the memory of 'p' too, "


@pytest.mark.parametrize(
    "view",
    [
        FLATTEN,
        FLATTEN.replace("Flatten", "Reshape").replace("}", "reshape_param { shape { dim: -1 } } }"),
        'layer { name: "view" type: "Split" bottom: "p" top: "v" }',
        'layer { name: "view" type: "Slice" bottom: "p" top: "v" }',
        'layer { name: "view" type: "Concat" bottom: "p" top: "v" }',
        'layer { name: "view" type: "Permute" bottom: "p" top: "v" }',
        'layer { name: "one" type: "Split" bottom: "p" top: "u" }' + FLATTEN.replace('"p"', '"u"'),
    ],
)
def test_what_is_overwritten_before_it_is_read(view):
    with pytest.raises(UnsupportedError, match=MESSAGE + "and layer 'abs' reads that later"):
        graph_of(DATA + view + RELU + ABS)


@pytest.mark.parametrize(
    "view",
    [
        FLATTEN.replace("Flatten", "Power"),
        'layer { name: "view" type: "Permute" bottom: "p" top: "v" permute_param { order: 1 } }',
        'layer { name: "view" type: "Dropout" bottom: "p" top: "v" }',
    ],
)
def test_what_has_a_memory_of_its_own(view):
    graph_of(DATA + view + RELU + ABS)


def test_an_output_that_is_overwritten():
    other = FLATTEN.replace('"view"', '"other"').replace('"v"', '"w"')
    message = MESSAGE.replace("of 'p'", "of 'w'") + "and the caller, who gets the net's outputs"
    with pytest.raises(UnsupportedError, match=message):
        graph_of(DATA + other + FLATTEN + RELU)


def test_what_is_read_before():
    graph_of(DATA + FLATTEN + ABS + RELU)


def test_a_chain_on_one_memory():
    """Whoever works in place is read by the next; TEST's Dropout changes nothing."""
    dropout = 'layer { name: "drop" type: "Dropout" bottom: "v" top: "v" }'
    graph_of(DATA + FLATTEN + RELU + dropout + RELU.replace('"relu"', '"again"'))
    graph_of(DATA + FLATTEN + dropout + ABS)
