"""The base of recurrent layers, a loop over time where Caffe unrolls a net; and the plain RNN.

Bottoms are x (T, N, ...), cont (T, N), an optional x_static (N, ...), then with expose_hidden the
state before the first step. Tops are the outputs (T, N, H) and with expose_hidden the last state.
`cont` is a factor of the state that enters a step: 0 starts a new sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from ... import fillers
from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from ..arity import check_arity
from ..builder import Builder, Tensors, int64
from ..layer import Arrays, Blob, Layer
from ..registry import layer

_MOST_STEPS = 1 << 16


class Recurrent(Layer):
    """The bottoms, sizes and input transform of LSTM and RNN (recurrent_layer.cpp)."""

    no_backward = (1,)
    ignores_lr_mult = True
    states: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]]
    gates: ClassVar[int]
    letter: ClassVar[str]  # of the weights' names in Caffe: W_xc, b_c, W_xc_static
    unread = (1, 2)  # the state after the last step, which only shares data

    @property
    def blocked(self) -> tuple[int, ...]:
        return (1, *range(-self.states, 0)) if self.p.expose_hidden else (1,)

    @property
    def hidden(self) -> int:
        return int(self.p.num_output)

    def blobs(self, *x: Shape) -> list[Blob]:
        rows = self.gates * self.hidden
        weight = self.p.weight_filler
        blobs = [
            Blob(f"W_x{self.letter}", (rows, prod(x[0][2:])), weight),
            Blob(f"b_{self.letter}", (rows,), self.p.bias_filler),
        ]
        if self._static(x):
            blobs.append(Blob(f"W_x{self.letter}_static", (rows, prod(x[2][1:])), weight))
        return blobs + self.step_blobs()

    def step_blobs(self) -> list[Blob]:
        """Return the blobs that every time step uses."""
        raise NotImplementedError

    def fill(self, rng: Rng, *x: Shape, blobs: Sequence[Blob] | None = None) -> list[Array]:
        specs = self.blobs(*x) if blobs is None else blobs
        arrays = super().fill(rng, *x, blobs=specs)
        # Caffe's unrolled net draws the step's weights for every time step, and keeps the first.
        for _ in range(x[0][0] - 1):
            for blob in specs[-len(self.step_blobs()) :]:
                fillers.fill(blob.shape, blob.filler, rng)
        return arrays

    def shapes(self, *x: Shape) -> list[Shape | None]:
        exposed = self.states if self.p.expose_hidden else 0
        check_arity("bottom", len(x), (2 + exposed, 3 + exposed))
        if self.hidden < 1:
            raise ShapeError(f"num_output must be positive, and is {self.hidden}")
        if len(x[0]) < 3:
            raise ShapeError(f"needs a bottom of 3 axes or more, (T, N, ...), and has {x[0]}")
        if x[0][0] > _MOST_STEPS:
            raise UnsupportedError(
                f"{x[0][0]} time steps; Caffe builds layers for each, and more than "
                f"{_MOST_STEPS} are not supported"
            )
        if x[1] != x[0][:2]:
            raise ShapeError(f"cont must have the steps and streams {x[0][:2]}, and is {x[1]}")
        streams = x[0][1]
        if self._static(x) and (len(x[2]) < 2 or x[2][0] != streams):
            raise ShapeError(f"the static bottom must be ({streams}, ...), and is {x[2]}")
        state = (1, streams, self.hidden)
        for other in x[len(x) - exposed :]:
            if other != state:
                raise ShapeError(f"the hidden state must be {state}, and is {other}")
        return [(*x[0][:2], self.hidden), *[state] * exposed]

    def allows_force_backward(self, bottom: int) -> bool:
        return bottom != 1

    def _static(self, bottoms: tuple[Any, ...]) -> bool:
        return len(bottoms) > 2 + (self.states if self.p.expose_hidden else 0)

    def state(self, *x: Shape) -> dict[str, Array]:
        """Return zeros for what Caffe's unrolled net carries from one forward pass to the next."""
        if self.p.expose_hidden:
            return {}
        return {name: np.zeros((x[0][1], self.hidden), np.float32) for name in self.state_names}

    def exposed(self) -> Recurrent:
        """Return the layer with its state as bottoms and tops."""
        proto = LayerParameter()
        proto.CopyFrom(self.proto)
        proto.recurrent_param.expose_hidden = True
        return type(self)(proto)

    def _start(self, x: Array, more: tuple[Array, ...], arrays: Mapping[str, Array]) -> list[Array]:
        """Return the state before the first step, each (N, H): the caller's, carried, or zeros."""
        if self.p.expose_hidden:
            return [given[0] for given in more[-self.states :]]
        zeros = np.zeros((x.shape[1], self.hidden), np.float32)
        return [arrays.get(name, zeros) for name in self.state_names]

    def _transform(self, x: Array, more: tuple[Array, ...], blobs: dict[str, Array]) -> Array:
        """Return the input's part of the gates at every step, (T, N, rows)."""
        weight, bias = blobs[f"W_x{self.letter}"], blobs[f"b_{self.letter}"]
        gates = x.reshape(*x.shape[:2], -1) @ weight.T + bias
        if self._static((x, x, *more)):
            static = blobs[f"W_x{self.letter}_static"]
            gates = gates + more[0].reshape(len(more[0]), -1) @ static.T
        return gates

    def _transform_backward(
        self, d: Array, x: Array, more: tuple[Array, ...], blobs: dict[str, Array]
    ) -> tuple[tuple[Array | None, ...], list[Array]]:
        """Return the gradients of the bottoms and of the input's blobs, from `d` at the gates.

        None flows to cont, nor to the caller's state, which Caffe's unrolled net only reads.
        """
        flat = d.reshape(-1, d.shape[-1])
        dx = (flat @ blobs[f"W_x{self.letter}"]).reshape(x.shape)
        grads = [flat.T @ x.reshape(len(flat), -1), flat.sum(axis=0)]
        flows: list[Array | None] = [None] * len(more)
        if self._static((x, x, *more)):
            streams = d.sum(axis=0)
            flows[0] = (streams @ blobs[f"W_x{self.letter}_static"]).reshape(more[0].shape)
            grads.append(streams.T @ more[0].reshape(len(streams), -1))
        return (dx, None, *flows), grads

    # -- in ONNX -----------------------------------------------------------------------------

    def _lower_x(self, g: Builder, x: str) -> str:
        return x if len(g.dims(x)) == 3 else g.Reshape(x, int64(0, 0, -1))

    def _lower_transform(
        self, g: Builder, x: str, more: tuple[str, ...], blobs: dict[str, str]
    ) -> str:
        weight = g.Transpose(blobs[f"W_x{self.letter}"], perm=[1, 0])
        gates = g.Add(g.MatMul(self._lower_x(g, x), weight), blobs[f"b_{self.letter}"])
        if self._static((x, x, *more)):
            static = g.Gemm(g.rows(more[0]), blobs[f"W_x{self.letter}_static"], transB=1)
            gates = g.Add(gates, static)
        return gates

    def _lower_start(self, g: Builder, x: str, more: tuple[str, ...]) -> list[str]:
        if self.p.expose_hidden:
            return [g.Squeeze(state, int64(0)) for state in more[-self.states :]]
        streams = g.dims(x)[1]
        if streams is not None:
            return [g.constant(np.zeros((streams, self.hidden)), np.float32)] * self.states
        size = g.Concat(g.Shape(x, start=1, end=2), int64(self.hidden), axis=0)
        return [g.ConstantOfShape(size)] * self.states

    def _whole(self, g: Builder, x: str, cont: str, more: tuple[str, ...]) -> list[str] | None:
        """Return the state for ONNX's operator, which cannot reset, if only the first step may.

        [] stands for zeros; with None it takes a Scan.
        """
        known = g.known(cont)
        if g.keeps_params:  # the operators have their weights in another order
            return None
        if g.dims(x)[0] != 1 and (known is None or np.any(known[1:] != 1)):
            return None
        first = None if known is None else known[:1, :, None].astype(np.float32)
        if not self.p.expose_hidden or (first is not None and not first.any()):
            return []
        states = list(more[-self.states :])
        if first is not None and np.all(first == 1):
            return states
        scale = g.Unsqueeze(cont, int64(2)) if first is None else g.constant(first)
        return [g.Mul(state, scale) for state in states]

    def _lower_sequence(
        self, g: Builder, x: str, more: tuple[str, ...], blobs: dict[str, str]
    ) -> tuple[str, Array]:
        """Write an operator's input, the static bottom beside x, and return its weights too."""
        weight, steps = g.data(blobs[f"W_x{self.letter}"]), g.fixed(x, 0)
        sequence = self._lower_x(g, x)
        if not self._static((x, x, *more)):
            return sequence, weight
        rows = g.Unsqueeze(g.rows(more[0]), int64(0))
        static = g.Expand(rows, int64(steps, 1, 1)) if steps != 1 else rows
        both = [weight, g.data(blobs[f"W_x{self.letter}_static"])]
        return g.Concat(sequence, static, axis=2), np.concatenate(both, axis=1)


@layer(param="recurrent_param", bottoms=(2, 4), tops=(1, 2))
class RNN(Recurrent):
    """h = tanh(W_xh x + W_hh cont h + b_h), top = tanh(W_ho h + b_o) (rnn_layer.cpp).

    Every run starts from a zero state, like Caffe's first forward pass; a training continues from
    the state of its last pass, like Caffe's later ones. With expose_hidden the caller feeds it.

    Refused: more than 65536 time steps.
    """

    states, gates, letter, state_names = 1, 1, "h", ("h0",)

    def step_blobs(self) -> list[Blob]:
        square = (self.hidden, self.hidden)
        return [
            Blob("W_hh", square, self.p.weight_filler),
            Blob("W_ho", square, self.p.weight_filler),
            Blob("b_o", (self.hidden,), self.p.bias_filler),
        ]

    def forward(self, *x: Array, **blobs: Array) -> Arrays:
        return self.forward_keeping(*x, **blobs)[0]

    def forward_keeping(
        self, x: Array, cont: Array, *more: Array, **blobs: Array
    ) -> tuple[Arrays, dict[str, Any]]:
        run = self._run(x, cont, more, blobs)
        hs = run[1]
        top = np.tanh(hs @ blobs["W_ho"].T + blobs["b_o"])
        return (top, hs[-1:]) if self.p.expose_hidden else top, {"run": run}

    def update(self, x: Array, cont: Array, *more: Array, **arrays: Any) -> dict[str, Array]:
        if self.p.expose_hidden:
            return {}
        _, hs = arrays.get("run") or self._run(x, cont, more, arrays)
        return {"h0": hs[-1]}

    def _run(
        self, x: Array, cont: Array, more: tuple[Array, ...], blobs: dict[str, Array]
    ) -> tuple[Array, Array]:
        """Return the incoming h times cont and the outgoing h of every step: (T, N, H) each."""
        inputs = self._transform(x, more, blobs)
        (h,) = self._start(x, more, blobs)
        entering, hs = [], []
        for t, scale in enumerate(cont[..., None]):
            entering.append(scale * h)
            h = np.tanh(inputs[t] + entering[-1] @ blobs["W_hh"].T)
            hs.append(h)
        return np.stack(entering), np.stack(hs)

    def backward(
        self, dy: Arrays, x: Array, cont: Array, *more: Array, **blobs: Any
    ) -> tuple[Array | None, ...]:
        # In Caffe the exposed state shares data only: no gradient flows back from it.
        dtop = dy[0] if isinstance(dy, tuple) else dy
        entering, hs = blobs.get("run") or self._run(x, cont, more, blobs)
        top = np.tanh(hs @ blobs["W_ho"].T + blobs["b_o"])
        dout = (dtop * (1 - top * top)).reshape(-1, self.hidden)
        dhs = (dout @ blobs["W_ho"]).reshape(hs.shape)
        dsums, dh = np.zeros_like(hs), np.zeros_like(hs[0])
        for t in reversed(range(len(hs))):
            dsums[t] = (dhs[t] + dh) * (1 - hs[t] * hs[t])
            dh = cont[t][:, None] * (dsums[t] @ blobs["W_hh"])
        flows, grads = self._transform_backward(dsums, x, more, blobs)
        dhh = dsums.reshape(dout.shape).T @ entering.reshape(dout.shape)
        dho = dout.T @ hs.reshape(dout.shape)
        return (*flows, *grads, dhh, dho, dout.sum(axis=0))

    def lower(self, g: Builder, x: str, cont: str, *more: str, **blobs: str) -> Tensors:
        state = self._whole(g, x, cont, more)
        if state is not None:
            hs, last = self._lower_operator(g, x, more, state, blobs)
        else:
            (h,) = self._lower_start(g, x, more)

            def step(h: str, inputs: str, scale: str) -> tuple[str, str]:
                h = g.Tanh(g.Gemm(g.Mul(h, scale), blobs["W_hh"], inputs, transB=1))
                return h, g.Identity(h)

            last, hs = g.Scan(
                h,
                self._lower_transform(g, x, more, blobs),
                g.Unsqueeze(cont, int64(2)),
                body=g.graph(step, 3),
                num_scan_inputs=2,
                outputs=2,
            )
            last = g.Unsqueeze(last, int64(0)) if self.p.expose_hidden else last
        weight = g.Transpose(blobs["W_ho"], perm=[1, 0])
        top = g.Tanh(g.Add(g.MatMul(hs, weight), blobs["b_o"]))
        return (top, last) if self.p.expose_hidden else top

    def _lower_operator(
        self, g: Builder, x: str, more: tuple[str, ...], state: list[str], blobs: dict[str, str]
    ) -> tuple[str, str]:
        bias = g.data(blobs["b_h"])
        sequence, weight = self._lower_sequence(g, x, more, blobs)
        joined = self._static((x, x, *more))
        hs, last = g.RNN(
            sequence,
            g.change(blobs["W_xh"], weight[None])
            if joined
            else g.view(blobs["W_xh"], (1, *weight.shape)),
            g.view(blobs["W_hh"], (1, self.hidden, self.hidden)),
            g.change(blobs["b_h"], np.concatenate([bias, np.zeros_like(bias)])[None]),
            None,
            *state,
            hidden_size=self.hidden,
            outputs=2,
        )
        return g.Squeeze(hs, int64(1)), last
