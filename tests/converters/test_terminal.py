"""Progress bars on a terminal, and what is printed meanwhile."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from caffe_compat.converters.terminal import bars, notes, say

from caffe_compat.progress import show_progress, track
from caffe_compat.text import table


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def attach(monkeypatch):
    """Makes a stream of that kind standard error, or standard output."""
    monkeypatch.setenv("TERM", "xterm")

    def call(kind, name="stderr"):  # in the test itself: pytest captures anew after fixtures
        stream = kind()
        monkeypatch.setattr(sys, name, stream)
        return stream

    return call


def test_a_bar_comes_and_goes(attach):
    terminal = attach(Terminal)
    with bars() as watch, show_progress(watch):
        assert list(track(range(3), "filling")) == [0, 1, 2]
        shown = terminal.getvalue()
        assert "filling" in shown
        assert "\x1b[2K" in shown[shown.rindex("filling") :]  # its line is cleared
    assert terminal.getvalue() == shown


def test_a_loop_in_a_loop_has_a_bar_below(attach):
    terminal = attach(Terminal)
    with bars() as watch, show_progress(watch):
        for _ in track(range(2), "measuring"):
            assert list(track("ab", "filling")) == ["a", "b"]
    first = terminal.getvalue()
    assert first.index("measuring") < first.index("filling")


def test_nothing_when_piped(attach):
    stream = attach(io.StringIO)
    with bars() as watch, show_progress(watch):
        assert list(track(range(3), "filling")) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_an_error_stands_below_no_bar(attach):
    """Even where something keeps the loop alive."""
    terminal = attach(Terminal)

    def fail(loop):
        for _ in loop:
            raise ValueError

    with bars() as watch, pytest.raises(ValueError), show_progress(watch):
        fail(loop := iter(track(range(3), "filling")))
    shown = terminal.getvalue()
    assert "\x1b[?25h" in shown[shown.rindex("filling") :]  # the cursor is back
    del loop
    assert terminal.getvalue() == shown


@pytest.mark.parametrize("to_terminal", [True, False])
def test_lines_printed_meanwhile(attach, to_terminal):
    """On the terminal they stand above the bar; in a file they stay in the file."""
    terminal = attach(Terminal)
    out = attach(Terminal if to_terminal else io.StringIO, "stdout")
    with bars() as watch, show_progress(watch), notes():
        for number in track(range(2), "running"):
            say(f"answer {number}")
            logging.getLogger("caffe_compat").warning("warned %d", number)
    assert "\nwarning: warned 1\n" in terminal.getvalue().replace("\x1b[2K", "\n")
    if to_terminal:
        assert "answer 1\n" in terminal.getvalue()
    else:
        assert out.getvalue() == "answer 0\nanswer 1\n"


def test_table():
    assert [*table([("a", "bb"), ("ccc", "")])] == ["a    bb", "ccc"]
