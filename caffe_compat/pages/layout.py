"""Lay out a net's graph from top to bottom (Sugiyama et al. 1981), by fast-sugiyama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CaffeCompatError

Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """Places on a page, in units of columns and rows.

    Attributes:
        places: the (column, row) of each vertex.
        routes: for each edge the points that it passes, its ends among them.
        columns: the number of columns.
        rows: the number of rows.
    """

    places: Sequence[Point]
    routes: Sequence[Sequence[Point]]
    columns: float
    rows: int


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Place the vertices 0 to `count` - 1 of a graph without cycles.

    Raises:
        CaffeCompatError: fast-sugiyama is not installed.
    """
    try:
        from fast_sugiyama import from_edges
    except ImportError:
        raise CaffeCompatError(
            "the page of a net needs fast-sugiyama (Python 3.11 or later): "
            "pip install 'caffe_compat[html]'"
        ) from None
    distinct = list(dict.fromkeys(edges))
    parts = from_edges(
        distinct, vertex_spacing=1, dummy_vertices=True, dummy_size=0.4, check_layout=False
    ).align_layouts_horizontal(spacing=1)
    placed: dict[int, Point] = dict(parts.to_dict())
    steps: dict[int, list[int]] = {}
    for part in parts:
        for source, target in part[3] or ():
            steps.setdefault(source, []).append(target)
    right = max((x for x, _ in placed.values()), default=-1.0)
    for alone in sorted(set(range(count)) - placed.keys()):
        right += 1
        placed[alone] = (right, 0.0)
    left = min((x for x, _ in placed.values()), default=0.0)
    ranks = {y: i for i, y in enumerate(sorted({y for _, y in placed.values()}, reverse=True))}
    points = {v: (x - left, float(ranks[y])) for v, (x, y) in placed.items()}
    routes = [_route(source, target, steps, points, count) for source, target in distinct]
    columns = max((x for x, _ in points.values()), default=0.0)
    return Layout([points[i] for i in range(count)], routes, columns + 1, len(ranks))


def _route(
    source: int, target: int, steps: dict[int, list[int]], points: dict[int, Point], count: int
) -> list[Point]:
    """Return the points of an edge; vertices from `count` on are bends that the layout added."""
    for step in steps.get(source, []):
        bends, at = [], step
        while at >= count:
            bends.append(points[at])
            at = steps[at][0]
        if at == target:
            return [points[source], *bends, points[target]]
    return [points[source], points[target]]
