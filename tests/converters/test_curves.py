"""Curves in a terminal."""

from __future__ import annotations

import math


def test_terminal_marks_every_line():
    from caffe_compat.converters.curves import legend, plot
    from rich.console import Console

    console = Console(width=60, force_terminal=False)
    lines = [[1.0, 0.1, None], [1e3, math.inf, 0.0]]
    text = plot("title", lines, console).plain
    marks = legend(["first", "second"], console).plain.split()[::2]
    assert text.count(marks[0]) == 2
    assert text.count(marks[1]) == 3
