"""The layout of a graph: from top to bottom, branches side by side."""

from __future__ import annotations

import pytest

from caffe_compat.pages.layout import lay_out

DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


def test_edges_lead_down():
    layout = lay_out(5, [*DIAMOND, (0, 3), (3, 4)])
    rows = [row for _, row in layout.places]
    assert rows == [0, 1, 1, 2, 3]
    assert layout.places[1][0] != layout.places[2][0]
    assert (layout.rows, len(layout.routes)) == (4, 6)


def test_a_long_edge_bends_around_what_lies_between():
    layout = lay_out(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    route = layout.routes[-1]
    assert route[0] == layout.places[0]
    assert route[-1] == layout.places[3]
    between = {layout.places[1], layout.places[2]}
    assert len(route) == 4
    assert not between & set(route[1:-1])


def test_vertices_without_edges_have_places_of_their_own():
    layout = lay_out(3, [(0, 1)])
    assert len(set(layout.places)) == 3


@pytest.mark.parametrize("edges", [[], [(0, 0)][:0]])
def test_no_edges(edges):
    assert lay_out(1, edges).places == [(0.0, 0.0)]


def test_double_edges_are_drawn_once():
    assert len(lay_out(2, [(0, 1), (0, 1)]).routes) == 1
