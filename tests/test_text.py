"""Strangers' names in messages and on terminals."""

from __future__ import annotations

import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.text import message, one_line, printable


@pytest.mark.parametrize("text", ["conv1", "Größe\t1", "a\nb", "猫"])
def test_plain_text_stays(text):
    assert printable(text) == text


def test_control_characters_are_escaped():
    assert printable("a\x1b[31m\x07\u202e\n") == "a\\u001b[31m\\u0007\\u202e\n"
    assert one_line("a\nb\x00") == "a\\nb\\u0000"


def test_a_message_is_one_line_of_bounded_length():
    assert message("first:\r\n    second\n") == "first: second"
    assert message(f"'{'ab ' * 2000}' a\tb").endswith("ab ab ' a\\tb")
    word = message(f"layer '{'x' * 5000}': no")
    assert (len(word), word[:10], word[-6:]) == (261, "layer 'xxx", "x': no")
    assert len(message("ab " * 50_000)) == 16_385


def test_every_error_is_safe():
    name = "a\x1b]0;owned\x07\n" + "y" * 5000
    error = ShapeError(f"'{name}' is bad").within(f"layer '{name}'")
    assert str(error).isprintable()
    assert len(str(error)) < 700
    assert str(UnsupportedError.joined([error])).count("owned") == 2
    assert str(CaffeCompatError(3)) == "3"
