"""A message's text without its schema, and the layers that it configures."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ParseError
from caffe_compat.prototxt.mapping import parse_mapping


def test_values_of_every_kind():
    text = (
        "count: 20, scale: 1.5; low: -0x10 big: 1e3 half: .5f softmax: true off: false\n"
        "mode: FAST name: 'a\\n' # a comment\n inner { x: 1 y < z: 2 > }"
    )
    assert parse_mapping(text, "l") == {
        "count": 20, "scale": 1.5, "low": -16, "big": 1000.0, "half": 0.5,
        "softmax": True, "off": False, "mode": "FAST", "name": "a\n",
        "inner": {"x": 1, "y": {"z": 2}},
    }  # fmt: skip


def test_lists():
    text = "a: 1 a: 2 a: 3 b: [1.5, 2] c: [] d { x: 1 } d { x: 2 } e: [1] e: 2"
    assert parse_mapping(text, "l") == {
        "a": [1, 2, 3],
        "b": [1.5, 2],
        "c": [],
        "d": [{"x": 1}, {"x": 2}],
        "e": [1, 2],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1 }", "'}' in its parameters is not expected"),
        ("a {", "ends too early"),
        ("a: [1", "ends too early"),
        ("a", "ends too early"),
        ("a: }", "'}' in its parameters is not expected"),
        (": 1", "':' in its parameters is not expected"),
    ],
)
def test_what_is_no_message(text, words):
    with pytest.raises(ParseError, match=rf"^layer 'x': .*{words}"):
        parse_mapping(text, "layer 'x'")
