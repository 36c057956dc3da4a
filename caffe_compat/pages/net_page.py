"""The page of a net: its graph, its costs, its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from google.protobuf import text_format

from ..errors import CaffeCompatError
from ..fillers.moments import second_moment
from ..net.graph import Graph, Node
from ..net.net import Net
from ..onnx.costs import Cost, Costs, costs
from ..types import Array
from .document import asset, document
from .layout import Layout, lay_out

_WIDTH, _LINE, _PITCH, _GAP = 244, 16, 262, 34  # pixels: a box, a line in it, a column, a row's gap
_LETTERS = 38  # that a box is wide
_BINS = 40


@dataclass
class _Box:
    """A layer, and the layers that work in place on its top."""

    nodes: list[int]
    lines: list[str] = field(default_factory=list)
    title: str = ""

    @property
    def height(self) -> int:
        return _LINE * len(self.lines) + 12


def net_page(net: Net | Graph, findings: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return one page of HTML that shows a net, without network and without files beside it.

    Args:
        net: the net; of a `Net` its weights are shown as histograms, of a `Graph` the fillers.
        findings: by layer, what the doctor says about it.

    Raises:
        CaffeCompatError: fast-sugiyama, which lays the graph out, is not installed.
    """
    graph = net.graph if isinstance(net, Net) else net
    arrays = net.arrays if isinstance(net, Net) else None
    total = costs(graph)
    boxes, edges = _boxes(graph)
    dearest = {id(cost) for cost in total.dearest()}
    for box in boxes:
        box.lines = _lines(graph, box, total)
        box.title = ", ".join(graph.nodes[index].layer.name for index in box.nodes)
    drawing = _draw(boxes, lay_out(len(boxes), edges), total, dearest)
    title = graph.net.name or "unnamed net"
    body = f"""<header>
<h1>{escape(title)}</h1>
<p>{_summary(total)}</p>
<form role="search"><label>Find a layer <input id="find" type="search" autocomplete="off"></label>
<output id="found"></output></form>
</header>
<main>
<section id="view" aria-label="Graph" tabindex="0">{drawing}</section>
<aside id="details" aria-live="polite"><p class="soft">Select a layer.</p></aside>
<section id="costs"><h2>Costs, for one image</h2>{_table(total, dearest)}</section>
</main>"""
    data = _details(graph, arrays, findings or {})
    style = asset("page.css") + asset("net.css")
    return document(title, body, style, asset("net.js"), data)


def _boxes(graph: Graph) -> tuple[list[_Box], list[tuple[int, int]]]:
    """Return the boxes, and the edges between them; an in-place layer joins its blob's box."""
    boxes: list[_Box] = []
    home: dict[str, int] = {}  # the box of each value, by its name
    edges: list[tuple[int, int]] = []
    for index, node in enumerate(graph.nodes):
        if node.inplace and len(node.bottoms) == 1 and node.bottoms[0].name in home:
            at = home[node.bottoms[0].name]
            boxes[at].nodes.append(index)
        else:
            at = len(boxes)
            boxes.append(_Box([index]))
            edges += [(home[v.name], at) for v in node.bottoms if v.name in home]
        home |= {value.name: at for value in node.tops}
    return boxes, edges


def _lines(graph: Graph, box: _Box, total: Costs) -> list[str]:
    """Return the text of a box: the layers, the shape of their top, their cost."""
    first = graph.nodes[box.nodes[0]]
    lines = [_label(graph.nodes[index]) for index in box.nodes]
    shapes = [_say_shape(value.shape) for value in first.tops[:2]]
    more = f" and {len(first.tops) - 2} more" if len(first.tops) > 2 else ""
    if shapes:
        lines.append(", ".join(shapes) + more)
    adds = sum(total.layers[index].multiply_adds for index in box.nodes)
    parameters = sum(total.layers[index].parameters for index in box.nodes)
    if adds or parameters:
        lines.append(f"{si(adds)} multiply-adds, {si(parameters)} parameters")
    return lines


def _label(node: Node) -> str:
    kind = node.layer.proto.type
    p = getattr(node.layer.proto, "convolution_param", None)
    if kind in ("Convolution", "Deconvolution") and p is not None and p.kernel_size:
        kernel = "x".join(
            map(str, p.kernel_size if len(p.kernel_size) > 1 else [*p.kernel_size] * 2)
        )
        stride = f"/{p.stride[0]}" if p.stride and p.stride[0] > 1 else ""
        kind = f"{kind} {kernel}{stride}"
    return f"{_short(node.layer.name, _LETTERS - len(kind) - 3)} · {kind}"


def _short(text: str, most: int) -> str:
    """Return a name of so many letters, but at least 8: its start and its end."""
    most = max(most, 8)
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def _say_shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def si(number: float) -> str:
    """Return a number with three digits and a prefix: 724 M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:g}"


def _draw(boxes: Sequence[_Box], layout: Layout, total: Costs, dearest: set[int]) -> str:
    """Return the graph as SVG."""
    heights = [0] * max(int(layout.rows), 1)
    for box, (_, row) in zip(boxes, layout.places, strict=True):
        heights[int(row)] = max(heights[int(row)], box.height)
    tops = [sum(heights[:row]) + _GAP * row for row in range(len(heights))]

    def at(column: float, row: float) -> tuple[float, float]:
        return _PITCH * column + _PITCH / 2, tops[int(row)] + heights[int(row)] / 2

    height = sum(heights) + _GAP * (len(heights) - 1)
    lines = [_edge([at(*point) for point in route]) for route in layout.routes]
    drawn = [
        _box(i, box, at(*place), any(id(total.layers[n]) in dearest for n in box.nodes))
        for i, (box, place) in enumerate(zip(boxes, layout.places, strict=True))
    ]
    width = _PITCH * layout.columns
    return (
        f'<svg id="graph" viewBox="-10 -10 {width + 20:.0f} {height + 20:.0f}" '
        f'data-width="{width + 20:.0f}" data-height="{height + 20:.0f}" role="img" '
        'aria-label="The layers of the net">'
        f'<g id="edges">{"".join(lines)}</g>{"".join(drawn)}</svg>'
    )


def _edge(points: Sequence[tuple[float, float]]) -> str:
    """Return a smooth line through its points, from the middle of a row to that of another."""
    (x, y), *rest = points
    parts = [f"M{x:.0f},{y:.0f}"]
    for nx, ny in rest:
        middle = (y + ny) / 2
        parts.append(f"C{x:.0f},{middle:.0f} {nx:.0f},{middle:.0f} {nx:.0f},{ny:.0f}")
        x, y = nx, ny
    return f'<path d="{"".join(parts)}"/>'


def _box(index: int, box: _Box, centre: tuple[float, float], dear: bool) -> str:
    x, y = centre[0] - _WIDTH / 2, centre[1] - box.height / 2
    names = len(box.nodes)
    text = "".join(
        f'<text x="{centre[0]:.0f}" y="{y + 6 + _LINE * (i + 0.75):.0f}" '
        f'class="{"name" if i < names else "fact"}">{escape(line)}</text>'
        for i, line in enumerate(box.lines)
    )
    style = "box dear" if dear else "box"
    return (
        f'<g class="{style}" data-nodes="{" ".join(map(str, box.nodes))}" tabindex="0" '
        f'role="button"><title>{escape(box.title)}</title>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{box.height}" '
        f'rx="6"/>{text}</g>'
    )


def _summary(total: Costs) -> str:
    return (
        f"{len(total.layers)} layers, {si(total.total('multiply_adds'))} multiply-adds, "
        f"{si(total.total('parameters'))} parameters, "
        f"{si(total.total('activations'))}B of blobs, {si(total.peak)}B in use at most, "
        "for one image."
    )


_COLUMNS = (
    ("multiply_adds", "multiply-adds"),
    ("operations", "other operations"),
    ("parameters", "parameters"),
    ("activations", "bytes of blobs"),
    ("moved", "bytes moved"),
)


def _table(total: Costs, dearest: set[int]) -> str:
    heads = "".join(f'<th><button type="button">{label}</button></th>' for _, label in _COLUMNS)
    rows = "".join(_row(i, cost, id(cost) in dearest) for i, cost in enumerate(total.layers))
    sums = "".join(f"<td>{total.total(name):,}</td>" for name, _ in _COLUMNS)
    return (
        '<div class="wide"><table id="table"><thead><tr>'
        '<th><button type="button">layer</button></th><th><button type="button">type</button></th>'
        f"{heads}<th>sees</th></tr></thead><tbody>{rows}</tbody>"
        f"<tfoot><tr><td>all</td><td></td>{sums}<td></td></tr></tfoot></table></div>"
    )


def _row(index: int, cost: Cost, dear: bool) -> str:
    numbers = "".join(
        f'<td data-value="{getattr(cost, name)}">{getattr(cost, name):,}</td>'
        for name, _ in _COLUMNS
    )
    sees = cost.note or (
        f"{cost.field.size[0]:g}×{cost.field.size[1]:g}, every {cost.field.stride[0]:g}"
        if cost.field
        else ""
    )
    style = ' class="dear"' if dear else ""
    return (
        f'<tr{style} data-node="{index}"><td>{escape(cost.layer)}</td>'
        f'<td class="text">{escape(cost.type)}</td>{numbers}'
        f'<td class="text">{escape(sees)}</td></tr>'
    )


def _details(
    graph: Graph,
    arrays: Sequence[Sequence[Array]] | None,
    findings: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Return what a click on a layer shows."""
    return [
        {
            "name": node.layer.name,
            "type": node.layer.proto.type,
            "prototxt": _prototxt(node),
            "blobs": [
                _blob(node, i, arrays[index] if arrays else None) for i in range(len(node.blobs))
            ],
            "findings": list(findings.get(node.layer.name, ())),
        }
        for index, node in enumerate(graph.nodes)
    ]


def _prototxt(node: Node) -> str:
    bare = type(node.layer.proto)()
    bare.CopyFrom(node.layer.proto)
    bare.ClearField("blobs")
    bare.ClearField("phase")
    inside = text_format.MessageToString(bare, as_utf8=True, indent=2)
    return f"layer {{\n{inside}}}"


def _blob(node: Node, i: int, arrays: Sequence[Array] | None) -> dict[str, Any]:
    blob = node.blobs[i]
    facts: dict[str, Any] = {"name": blob.name, "shape": _say_shape(blob.shape)}
    if blob.filler is not None:
        facts["filler"] = text_format.MessageToString(blob.filler, as_one_line=True)
        facts["variance"] = _variance(blob.shape, blob.filler)
    if arrays is not None:
        facts |= _histogram(arrays[i])
    return facts


def _variance(shape: Sequence[int], filler: Any) -> str | None:
    try:
        moment = second_moment(shape, filler)
    except CaffeCompatError:
        return None
    return None if moment is None else f"{moment:.4g}"


def _histogram(array: Array) -> dict[str, Any]:
    values = array[np.isfinite(array)].ravel()
    lost = array.size - values.size
    if not values.size:
        return {"lost": lost}
    counts, edges = np.histogram(values, _BINS)
    return {
        "counts": counts.tolist(),
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
        "lost": lost,
    }
