"""Prototxt text to messages, and the fields outside the schema set aside."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import CaffeCompatError, ParseError
from caffe_compat.prototxt.parser import parse, parse_tolerantly

CONV = """name: "n"  # a comment
layer {
  name: 'conv' type: "Convolution"
  bottom: "data" top: "conv"
  convolution_param { num_output: 3, kernel_size: [5, 3]; weight_filler < type: "msra" a: 0.25 > }
}
"""
FORK = """layer {
  fork_param { deep { a: 1 b: "}" } list: [1, 2] }   # this } is no bracket
  type: "Pooling" bottom: "a"
  pooling_param { pool: SOFT kernel_size: 3 ext: "a" 'b' }
  [some.extension] { x: 1 } name: "pool1"
}
engine: "MKL2017"
layer { name: "r" include { phase: TEST } include { os: LINUX } }
"""


def test_unknown_fields_are_reported():
    net, skipped = parse_tolerantly(FORK, NetParameter, "net.prototxt")
    layer = net.layer[0]
    assert (layer.name, layer.type, layer.pooling_param.kernel_size) == ("pool1", "Pooling", 3)
    assert not layer.pooling_param.HasField("pool")
    place = [(s.line, s.column, s.path, s.message, s.field, s.value, s.layer) for s in skipped]
    assert place == [
        (2, 3, "layer[0]", "LayerParameter", "fork_param", "", 0),
        (4, 19, "layer[0].pooling_param", "PoolingParameter", "pool", "SOFT", 0),
        (4, 45, "layer[0].pooling_param", "PoolingParameter", "ext", "", 0),
        (5, 3, "layer[0]", "LayerParameter", "[some.extension]", "", 0),
        (7, 1, "", "NetParameter", "engine", "", None),
        (8, 53, "layer[1].include", "NetStateRule", "os", "", 1),
    ]


def test_strict_reading_refuses_the_first():
    with pytest.raises(ParseError, match=r"x:2:3: layer 'pool1': .* no field 'fork_param'"):
        parse(FORK, NetParameter, "x")


def test_unknown_nesting_may_be_deep():
    net, (skip,) = parse_tolerantly("name: 'n' zz " + "{ a " * 50_000 + "}" * 50_000, NetParameter)
    assert (net.name, skip.field) == ("n", "zz")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_ends_well(data):
    """Pieces cut out, doubled and swapped, brackets put in: a net or an error, nothing else."""
    text = FORK + CONV
    for _ in range(data.draw(st.integers(1, 4))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        pieces = ["", text[start:end] * 2, "{", "}", '"', "\\", "[", ":", "\x00", "9" * 50, "-"]
        text = text[:start] + data.draw(st.sampled_from(pieces)) + text[end:]
    try:
        net, skipped = parse_tolerantly(text, NetParameter)
    except CaffeCompatError:
        return
    for skip in skipped:
        line = text.split("\n")[skip.line - 1]
        assert line[skip.column - 1 :].startswith(skip.field)
    assert NetParameter.FromString(net.SerializeToString()) == net
