"""Loops that a front end may display."""

from __future__ import annotations

from caffe_compat.progress import show_progress, track


def test_without_a_display_the_items_are_their_own():
    items = [1, 2, 3]
    assert track(items, "counting") is items


def test_a_display_wraps_the_loops_inside_and_no_others():
    shown = []

    def display(items, caption, total):
        shown.append((caption, total))
        for item in items:
            yield item * 10

    with show_progress(display):
        assert list(track([1, 2], "outer")) == [10, 20]
        with show_progress(lambda items, caption, total: items):
            assert list(track([3], "inner")) == [3]
        assert list(track((), "empty")) == []
    assert list(track([4], "after")) == [4]
    assert shown == [("outer", 2), ("empty", 0)]
