"""The LSTM, and one step of it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, Tensors, int64
from ..layer import Arrays, Blob, Layer
from ..registry import layer
from .recurrent import Recurrent


@layer(param="recurrent_param", bottoms=(2, 5), tops=(1, 3))
class LSTM(Recurrent):
    """c = cont f c + i g, h = o tanh(c) (Zaremba and Sutskever 2014; lstm_layer.cpp).

    i, f, o = sigmoid and g = tanh of the four parts of W_xc x + W_hc (cont h) + b_c.
    Every run starts from a zero state, like Caffe's first forward pass; a training continues from
    the state of its last pass, like Caffe's later ones. With expose_hidden the caller feeds it.

    Refused: more than 65536 time steps.
    """

    states, gates, letter, state_names = 2, 4, "c", ("h0", "c0")
    indicators = (1,)

    def step_blobs(self) -> list[Blob]:
        return [Blob("W_hc", (4 * self.hidden, self.hidden), self.p.weight_filler)]

    def forward(self, *x: Array, **blobs: Array) -> Arrays:
        return self.forward_keeping(*x, **blobs)[0]

    def forward_keeping(
        self, x: Array, cont: Array, *more: Array, **blobs: Array
    ) -> tuple[Arrays, dict[str, Any]]:
        steps = self._run(x, cont, more, blobs)
        hs = np.stack([h for _, _, _, _, h in steps])
        tops = (hs, hs[-1:], steps[-1][3][None]) if self.p.expose_hidden else hs
        return tops, {"steps": steps}

    def update(self, x: Array, cont: Array, *more: Array, **arrays: Any) -> dict[str, Array]:
        if self.p.expose_hidden:
            return {}
        steps = arrays.get("steps") or self._run(x, cont, more, arrays)
        return {"h0": steps[-1][4], "c0": steps[-1][3]}

    def _run(
        self, x: Array, cont: Array, more: tuple[Array, ...], blobs: dict[str, Array]
    ) -> list[tuple[Array, ...]]:
        """Return for every step the incoming h times cont, the incoming c, the gates, c and h."""
        gates = self._transform(x, more, blobs)
        h, c = self._start(x, more, blobs)
        steps: list[tuple[Array, ...]] = []
        for t, scale in enumerate(cont[..., None]):
            entering, before = scale * h, c
            acts = _activate(gates[t] + entering @ blobs["W_hc"].T, scale)
            c, h = _unit(before, acts)
            steps.append((entering, before, acts, c, h))
        return steps

    def backward(
        self, dy: Arrays, x: Array, cont: Array, *more: Array, **blobs: Any
    ) -> tuple[Array | None, ...]:
        # In Caffe the exposed state shares data only: no gradient flows back from it.
        dhs = dy[0] if isinstance(dy, tuple) else dy
        dgates = np.zeros((*x.shape[:2], 4 * self.hidden), np.float32)
        weight = blobs["W_hc"]
        dweight, dh, dc = np.zeros_like(weight), np.zeros_like(dhs[0]), np.zeros_like(dhs[0])
        steps = blobs.get("steps") or self._run(x, cont, more, blobs)
        for t, step in reversed(list(enumerate(steps))):
            entering, before, acts, c, _ = step
            dc, dgates[t] = _unit_backward(dc, dhs[t] + dh, before, c, acts)
            dweight += dgates[t].T @ entering
            dh = cont[t][:, None] * (dgates[t] @ weight)
        flows, grads = self._transform_backward(dgates, x, more, blobs)
        return (*flows, *grads, dweight)

    def lower(self, g: Builder, x: str, cont: str, *more: str, **blobs: str) -> Tensors:
        state = self._whole(g, x, cont, more)
        if state is not None:
            return self._lower_operator(g, x, more, state, blobs)
        h, c = self._lower_start(g, x, more)

        def step(h: str, c: str, gates: str, scale: str) -> tuple[str, ...]:
            gates = g.Gemm(g.Mul(h, scale), blobs["W_hc"], gates, transB=1)
            c, h = _lower_unit(g, c, gates, scale, axis=1)
            return h, c, g.Identity(h)

        last, memory, hs = g.Scan(
            h,
            c,
            self._lower_transform(g, x, more, blobs),
            g.Unsqueeze(cont, int64(2)),
            body=g.graph(step, 4),
            num_scan_inputs=2,
            outputs=3,
        )
        if not self.p.expose_hidden:
            return hs
        return hs, g.Unsqueeze(last, int64(0)), g.Unsqueeze(memory, int64(0))

    def _lower_operator(
        self, g: Builder, x: str, more: tuple[str, ...], state: list[str], blobs: dict[str, str]
    ) -> Tensors:
        def reorder(array: Array) -> Array:  # Caffe's gates are i f o g, ONNX's i o f c
            i, f, o, c = np.split(array, 4)
            return np.concatenate([i, o, f, c])[None]

        sequence, weight = self._lower_sequence(g, x, more, blobs)
        bias = reorder(g.data(blobs["b_c"]))
        hs, h, c = g.LSTM(
            sequence,
            g.change(blobs["W_xc"], reorder(weight)),
            g.change(blobs["W_hc"], reorder(g.data(blobs["W_hc"]))),
            g.change(blobs["b_c"], np.concatenate([bias, np.zeros_like(bias)], axis=1)),
            None,
            *state,
            hidden_size=self.hidden,
            outputs=3,
        )
        hs = g.Squeeze(hs, int64(1))
        return (hs, h, c) if self.p.expose_hidden else hs


@layer(param="lstm_param", bottoms=(1, 2))
class Lstm(Layer):
    """LSTM that starts anew in every run, or where a second bottom is 0; blobs W_xc, W_hc, b_c.

    From: senlinuc/caffe_ocr, src/caffe/layers/lstm_layer_Junhyuk.cu. Its CPU code adds the first
        stream's states to every stream, and its gradient of W_hc counts states that an indicator
        of 0 cuts off; here it is the derivative.
    Refused: backward with a clipping_threshold.
    """

    blocked = indicators = (1,)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        inner = LayerParameter(name=proto.name, type="LSTM", phase=proto.phase, top=proto.top)
        inner.bottom.extend([*proto.bottom, ""][:2])
        inner.recurrent_param.num_output = self.p.num_output
        for field in ("weight_filler", "bias_filler"):
            getattr(inner.recurrent_param, field).CopyFrom(getattr(self.p, field))
        self._lstm = LSTM(inner)

    def _indicators(self, x: Array, *cont: Array) -> Array:
        if cont:
            return cont[0].reshape(x.shape[:2])
        starts: Array = np.ones(x.shape[:2], np.float32)
        starts[0] = 0
        return starts

    def blobs(self, *x: Shape) -> list[Blob]:
        weight, bias, step = self._lstm.blobs(x[0], x[0][:2])
        return [weight, step, bias]

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if len(x) > 1 and prod(x[1]) != prod(x[0][:2]):
            raise ShapeError(f"needs one indicator a step and stream of {x[0]}, and has {x[1]}")
        return self._lstm.shapes(x[0], x[0][:2])

    def forward(self, x: Array, *cont: Array, **blobs: Array) -> Arrays:
        return self._lstm.forward(x, self._indicators(x, *cont), **blobs)

    def backward(self, dy: Arrays, x: Array, *cont: Array, **blobs: Any) -> tuple[Any, ...]:
        if self.p.clipping_threshold > 0:
            raise UnsupportedError("clipping_threshold, of the gates' gradients, is not supported")
        flows = self._lstm.backward(dy, x, self._indicators(x, *cont), **blobs)
        dx, _, weight, bias, step = flows
        return (dx, *(None for _ in cont), weight, step, bias)

    def lower(self, g: Builder, x: str, *cont: str, **blobs: str) -> Tensors:
        if cont:
            sizes = int64(g.fixed(x, 0), -1)
            return self._lstm.lower(g, x, g.Reshape(cont[0], sizes), **blobs)
        starts = np.ones((g.fixed(x, 0), 1), np.float32)
        starts[0] = 0
        return self._lstm.lower(g, x, g.constant(starts), **blobs)


@layer(bottoms=3, tops=2)
class LSTMUnit(Layer):
    """One step of an LSTM: c' = cont f c + i g, h = o tanh(c') (lstm_unit_layer.cpp).

    Bottoms are c (1, N, H), the gates i f o g (1, N, 4H) and cont (1, N); tops are c' and h.
    """

    no_backward = (2,)
    blocked = indicators = (2,)

    def shapes(self, c: Shape, x: Shape, cont: Shape) -> list[Shape | None]:
        if len(c) != 3 or len(x) != 3 or len(cont) != 2:
            raise ShapeError(f"takes bottoms of 3, 3 and 2 axes, and has {c}, {x}, {cont}")
        if c[0] != 1 or x[:2] != c[:2] or cont != c[:2]:
            raise ShapeError(f"takes one step of the same streams (1, N); has {c}, {x}, {cont}")
        if x[2] != 4 * c[2]:
            raise ShapeError(f"the gates must be 4 x {c[2]} wide, and are {x[2]}")
        return [c, c]

    def allows_force_backward(self, bottom: int) -> bool:
        return bottom != 2

    def forward(self, c: Array, x: Array, cont: Array) -> tuple[Array, Array]:
        return _unit(c, _activate(x, cont[..., None]))

    def backward(
        self, dy: tuple[Array, Array], c: Array, x: Array, cont: Array
    ) -> tuple[Array, Array, None]:
        acts = _activate(x, cont[..., None])
        new, _ = _unit(c, acts)
        return (*_unit_backward(dy[0], dy[1], c, new, acts), None)

    def lower(self, g: Builder, c: str, x: str, cont: str) -> tuple[str, str]:
        return _lower_unit(g, c, x, g.Unsqueeze(cont, int64(2)), axis=2)


def _activate(x: Array, cont: Array) -> Array:
    """Return the gates i, f, o, g after their nonlinearities, f times cont, on the last axis."""
    i, f, o, g = np.split(x, 4, axis=-1)
    f = np.where(cont == 0, np.float32(0), cont * _sigmoid(f))
    return np.concatenate([_sigmoid(i), f, _sigmoid(o), np.tanh(g)], axis=-1)


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(100) is inf, and 1 / inf the right answer
        return np.asarray(1 / (1 + np.exp(-x)))


def _unit(c: Array, acts: Array) -> tuple[Array, Array]:
    i, f, o, g = np.split(acts, 4, axis=-1)
    new = f * c + i * g
    return new, o * np.tanh(new)


def _unit_backward(
    dc: Array, dh: Array, before: Array, c: Array, acts: Array
) -> tuple[Array, Array]:
    """Return the gradients at the incoming c and at the gates.

    The forget gate's is Caffe's f (1 - f) with f times cont, which is exact for cont 0 and 1 only.
    """
    i, f, o, g = np.split(acts, 4, axis=-1)
    y = np.tanh(c)
    d = dc + dh * o * (1 - y * y)
    di, df = d * g * i * (1 - i), d * before * f * (1 - f)
    do, dg = dh * y * o * (1 - o), d * i * (1 - g * g)
    return d * f, np.concatenate([di, df, do, dg], axis=-1)


def _lower_unit(g: Builder, c: str, gates: str, cont: str, axis: int) -> tuple[str, str]:
    i, f, o, new = g.Split(gates, axis=axis, num_outputs=4, outputs=4)
    memory = g.Mul(g.Mul(g.Sigmoid(f), cont), c)
    c = g.Add(memory, g.Mul(g.Sigmoid(i), g.Tanh(new)))
    return c, g.Mul(g.Sigmoid(o), g.Tanh(c))
