"""Products in numpy whose weights are updated while their gradient is computed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..layers.families.dense import InnerProduct
from ..net.needs import Needs
from ..net.net import Net
from ..net.sharing import Place
from ..types import Array
from .large import Product, large_weights


def streaming(net: Net, places: Sequence[Place], needs: Needs) -> tuple[Net, list[Product]]:
    """Return a net whose large products can update their weights row by row, and these.

    Args:
        net: the net.
        places: of the engine's parameters.
        needs: which of them learn.
    """
    nodes, products = list(net.graph.nodes), []
    for i, index in large_weights(net.graph, places).items():
        layer = nodes[i].layer
        if type(layer) is InnerProduct and not layer.p.transpose and needs.blobs[i][0]:
            product = Product(index, net.arrays[i][0].shape, _empty, np.matmul)
            nodes[i] = replace(nodes[i], layer=_streaming(layer, product))
            products.append(product)
    return Net(replace(net.graph, nodes=tuple(nodes)), net.arrays), products


def _streaming(layer: InnerProduct, product: Product) -> InnerProduct:
    own = copy.copy(layer)

    def backward(dy: Array, x: Array, weight: Array, bias: Array | None = None) -> Any:
        dx = (dy.reshape(-1, len(weight)) @ weight).reshape(x.shape)
        return dx, *backward_blobs(dy, x, weight, bias)

    def backward_blobs(dy: Array, x: Array, weight: Array, bias: Array | None = None) -> Any:
        if product.early is None:
            return layer.backward_blobs(dy, x, weight, bias)
        dy = dy.reshape(-1, len(weight))
        product.update(dy, x.reshape(len(dy), -1))
        return (None,) if bias is None else (None, dy.sum(axis=0))

    own.backward, own.backward_blobs = backward, backward_blobs  # type: ignore[method-assign]
    return own


def _empty(shape: tuple[int, ...]) -> Array:
    return np.empty(shape, np.float32)
