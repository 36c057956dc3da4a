"""Compare initialisations of residual nets without BatchNorm: what arrives, forward and backward.

    python benchmarks/residual.py

For ResNets of 20, 56 and 110 layers as for CIFAR-10 (He et al. 2016), both orders, and SphereFace's
depths, narrower: the level of the signal at the end and of the gradient at the start, the mean of
three draws, under

- msra: every layer;
- 1/sqrt(L): `msra:residual`, the last layer of each of L branches adds 1/L of its trunk;
- Fixup: the other layers of a branch by L^(-1/(2m - 2)), the last one 0 (Zhang et al. 2019);
- zero: the last one 0 (Goyal et al. 2017).

The table is docs/initialisation.md's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.doctor.bench import Bench
from caffe_compat.net.fans import is_weighted
from caffe_compat.net.graph import Graph
from caffe_compat.net.residual import Branches, apply_residual, std_by_node
from caffe_compat.net.slopes import apply, resolve

ROOT = Path(__file__).parents[1]


def zero(graph: Graph) -> Graph:
    """Return the net with msra's slopes, and 0 in the last layer of each branch."""
    last = {index for branch in Branches(graph).all for index in branch.last}
    return _refill(apply(graph, resolve(graph)), dict.fromkeys(last, 0.0))


def fixup(graph: Graph) -> Graph:
    """Return the net with Fixup's scale on the layers of each branch, and 0 in its last one."""
    branches = Branches(graph)
    stds = std_by_node(graph, inside=True)
    scaled: dict[int, float] = {}
    for branch in branches.all:
        inside = [i for i, node in enumerate(graph.nodes) if branch.inside >> i & 1]
        weighted = [i for i in inside if is_weighted(graph.nodes[i])]
        scale = branches.series ** (-1 / (2 * len(weighted) - 2)) if len(weighted) > 1 else 1.0
        for index in weighted:
            scaled[index] = 0.0 if index in branch.last else scale * stds[index]
    return _refill(apply_residual(graph), scaled)


def _refill(graph: Graph, stds: dict[int, float]) -> Graph:
    nodes = list(graph.nodes)
    for index, std in stds.items():
        filler = FillerParameter(type="gaussian", std=std) if std else FillerParameter()
        blobs = (replace(nodes[index].blobs[0], filler=filler), *nodes[index].blobs[1:])
        nodes[index] = replace(nodes[index], blobs=blobs)
    return replace(graph, nodes=tuple(nodes))


WAYS: dict[str, Callable[[Graph], Graph]] = {
    "msra": lambda graph: graph,
    "1/sqrt(L)": apply_residual,
    "Fixup": fixup,
    "zero": zero,
}


def nets() -> Iterator[tuple[str, str]]:
    """Yield the nets' names and prototxts."""
    from tests.doctor.zoo import resnet, sphereface

    for depth in (20, 56, 110):
        for order in ("post", "pre"):
            name = f"ResNet-{depth}" + (", pre-activation" if order == "pre" else "")
            yield name, resnet((depth - 2) // 6, norm=False, order=order)
    msra = 'type: "msra" a: 0.25'
    for depth, units in ((20, (1, 2, 4, 1)), (36, (2, 4, 8, 2)), (64, (3, 8, 16, 3))):
        yield f"SphereFace-{depth}", sphereface(units, msra)


def main() -> None:
    """Print the table."""
    sys.path.insert(0, str(ROOT))
    from tests.cases import graph_of

    print(f"| net | {' | '.join(f'{way}, forward | backward' for way in WAYS)} |")
    print("|---|" + "---|" * (2 * len(WAYS)))
    for name, text in nets():
        cells: list[Any] = []
        for way in WAYS.values():
            levels = Bench(range(1701, 1704), "boost-1.64", None).measure(way(graph_of(text)))
            cells += [f"{level:.2g}" for level in levels.arrivals()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
