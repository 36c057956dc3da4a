"""CRF-RNN: a conditional random field as layers of a net (Zheng et al. 2015)."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...types import Array, Shape
from .. import lattice
from ..builder import Builder, int64
from ..lattice import Lattice
from ..layer import Blob, Layer
from ..registry import layer


@layer("MULTI_STAGE_MEANFIELD", param="multi_stage_meanfield_param", bottoms=3)
class MultiStageMeanfield(Layer):
    """Scores after num_iterations of mean-field inference of a fully connected CRF.

    The bottoms are the unary scores, the scores to begin with and the image of 3 channels. Each
    iteration filters the softmax by place (theta_gamma) and by place and color (theta_alpha,
    theta_beta), multiplies both by their blobs, and their sum by the compatibility blob, and
    subtracts that from the unary scores.

    The fork takes the first diagonals of the filters' blobs from files beside the net; here they
    are spatial_filter_weight and bilateral_filter_weight.

    From: torrvision/caffe, src/caffe/layers/multi_stage_meanfield.cpp, meanfield_iteration.cpp and
        src/caffe/util/modified_permutohedral.cpp
    Refused: opsets below 16, whose ScatterElements does not add; sizes that may vary in ONNX.
    """

    def blobs(self, unary: Shape, start: Shape, image: Shape) -> list[Blob]:
        shape = (1, 1, unary[1], unary[1])
        return [Blob(name, shape) for name in ("spatial", "bilateral", "compatibility")]

    def fill(self, rng: object, unary: Shape, *x: Shape, blobs: object = None) -> list[Array]:
        diagonal = np.eye(unary[1], dtype=np.float32)[None, None]
        rates = (self.p.spatial_filter_weight, self.p.bilateral_filter_weight, -1)
        return [diagonal * np.float32(rate) for rate in rates]

    def shapes(self, unary: Shape, start: Shape, image: Shape) -> list[Shape | None]:
        if self.p.num_iterations < 2:
            raise ShapeError(f"num_iterations {self.p.num_iterations} must be greater than 1")
        if len(unary) != 4 or start != unary or image != (unary[0], 3, *unary[2:]):
            raise ShapeError(
                f"needs scores, scores alike and an image of 3 channels: {unary}, {start}, {image}"
            )
        return [unary]

    def _place(self, size: Shape, theta: float) -> Array:
        """Return the columns and rows of all pixels over theta, (2, pixels)."""
        rows, columns = np.indices(size).reshape(2, -1).astype(np.float32)
        return np.stack([columns, rows]) / np.float32(theta)

    def _spatial(self, size: Shape) -> tuple[Lattice, Array]:
        return _normed(lattice.build(self._place(size, self.p.theta_gamma)))

    def _bilateral(self, image: Array) -> tuple[Lattice, Array]:
        place = self._place(image.shape[1:], self.p.theta_alpha)
        colors = image.reshape(3, -1) / np.float32(self.p.theta_beta)
        return _normed(lattice.build(np.concatenate([place, colors])))

    def forward(self, unary: Array, start: Array, image: Array, **blobs: Array) -> Array:
        spatial = self._spatial(unary.shape[2:])
        tops = [
            self._steps(u.reshape(len(u), -1), q.reshape(len(q), -1), spatial, each, **blobs)[-1][0]
            for u, q, each in zip(unary, start, map(self._bilateral, image), strict=True)
        ]
        return np.stack(tops).reshape(unary.shape)

    def _steps(
        self,
        unary: Array,
        scores: Array,
        *filters: tuple[Lattice, Array],
        spatial: Array,
        bilateral: Array,
        compatibility: Array,
    ) -> list[tuple[Array, ...]]:
        """Return for each iteration the scores, the softmax, both filtered, and their message."""
        steps = []
        for _ in range(self.p.num_iterations):
            power = np.exp(scores - scores.max(0))
            chances = power / power.sum(0)
            smoothed = [lattice.smooth(each, chances) * norm for each, norm in filters]
            message = spatial[0, 0] @ smoothed[0] + bilateral[0, 0] @ smoothed[1]
            scores = unary - compatibility[0, 0] @ message
            steps.append((scores, chances, *smoothed, message))
        return steps

    def backward(
        self, dy: Array, unary: Array, start: Array, image: Array, **blobs: Array
    ) -> tuple[Array | None, ...]:
        spatial, flows = self._spatial(unary.shape[2:]), []
        for u, q, picture, d in zip(unary, start, image, dy, strict=True):
            filters = (spatial, self._bilateral(picture))
            steps = self._steps(u.reshape(len(u), -1), q.reshape(len(q), -1), *filters, **blobs)
            flows.append(_adjoint(d.reshape(len(d), -1), steps, filters, **blobs))
        du, dq, *dblobs = (list(each) for each in zip(*flows, strict=True))
        summed = [np.sum(each, axis=0)[None, None] for each in dblobs]
        return np.stack(du).reshape(unary.shape), np.stack(dq).reshape(start.shape), None, *summed

    def lower(self, g: Builder, unary: str, start: str, image: str, **blobs: str) -> str:
        images, channels, *size = g.shape(unary)
        count = size[0] * size[1]
        filters, still_norm = self._spatial(tuple(size))
        still, rate = lattice.constant(g, filters), g.constant(still_norm.T)
        views = [g.view(blobs[name], (channels, channels)) for name in blobs]
        parts = [
            g.Split(x, int64(*[1] * images), axis=0, outputs=images) for x in (unary, start, image)
        ]
        tops = []
        for u, q, picture in zip(*parts, strict=True):
            u, scores = (g.Reshape(each, int64(channels, count)) for each in (u, q))
            colors = g.Div(g.Reshape(picture, int64(3, count)), np.float32(self.p.theta_beta))
            features = g.Concat(self._place(tuple(size), self.p.theta_alpha), colors, axis=0)
            moving = lattice.lower_build(g, features, 5, count)
            total = lattice.lower_smooth(g, moving, g.constant(np.ones((count, 1), np.float32)))
            norm = g.Div(np.float32(1), g.Add(total, np.float32(1e-20)))
            for _ in range(self.p.num_iterations):
                chances = g.Transpose(g.Softmax(scores, axis=0), perm=[1, 0])
                smoothed = (
                    g.Mul(lattice.lower_smooth(g, still, chances), rate),
                    g.Mul(lattice.lower_smooth(g, moving, chances), norm),
                )
                messages = (
                    g.MatMul(view, g.Transpose(each, perm=[1, 0]))
                    for view, each in zip(views, smoothed, strict=False)
                )
                scores = g.Sub(u, g.MatMul(views[2], g.Add(*messages)))
            tops.append(g.Reshape(scores, int64(1, channels, *size)))
        return tops[0] if images == 1 else g.Concat(*tops, axis=0)


def _normed(filters: Lattice) -> tuple[Lattice, Array]:
    """Return a lattice and the factors that make its filter's weights sum to 1, (1, points)."""
    total = lattice.smooth(filters, np.ones((1, len(filters.corner)), np.float32))
    return filters, np.float32(1) / (total + np.float32(1e-20))


def _adjoint(
    dy: Array,
    steps: list[tuple[Array, ...]],
    filters: tuple[tuple[Lattice, Array], ...],
    spatial: Array,
    bilateral: Array,
    compatibility: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the gradients of the unary scores, the first scores and the blobs of one image."""
    dunary, dblobs = np.zeros_like(dy), [np.zeros_like(spatial[0, 0]) for _ in range(3)]
    for _, chances, *smoothed, message in steps[::-1]:
        dunary += dy
        dmessage = -compatibility[0, 0].T @ dy
        dblobs[2] -= dy @ message.T
        dchances = np.zeros_like(dy)
        for i, (weight, (each, norm)) in enumerate(zip((spatial, bilateral), filters, strict=True)):
            dblobs[i] += dmessage @ smoothed[i].T
            flow = (weight[0, 0].T @ dmessage) * norm
            dchances += lattice.smooth(each, flow, reverse=True)
        dy = chances * (dchances - (dchances * chances).sum(0))
    return dunary, dy, dblobs[0], dblobs[1], dblobs[2]
