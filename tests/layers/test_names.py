"""Names that are unique in a graph."""

from __future__ import annotations

from caffe_compat.layers.names import Names


def test_a_taken_name_gets_a_number():
    names = Names()
    names.take("a")
    assert [names.unique("a"), names.unique("a"), names.unique("b")] == ["a_2", "a_3", "b"]


def test_a_number_may_be_taken_too():
    names = Names()
    for name in ("a", "a_2"):
        names.take(name)
    assert names.unique("a") == "a_3"


def test_a_freed_name_is_given_again():
    names = Names()
    assert names.unique("a") == "a"
    names.free("a")
    names.free("never taken")
    assert names.unique("a") == "a"


def test_a_freed_number_is_given_again():
    names = Names()
    assert [names.unique("a") for _ in range(4)] == ["a", "a_2", "a_3", "a_4"]
    names.free("a_3")
    assert [names.unique("a") for _ in range(2)] == ["a_3", "a_5"]
