"""Bound buffers, on the CPU's memory as on a GPU's."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.runtime.session import Session

from ..cases import feed


def test_bound_buffers_are_filled_again_and_their_results_stay(net):
    """Fixed outputs are kept from run to run."""
    session = Session(net, "cpu", blobs=["conv1"])
    first, second = feed(net, 1), feed(net, 2)
    want = session.run(first), session.run(second)
    session._bind("cpu", 0, single=True)
    copies = {name: array.copy() for name, array in first.items()}
    outputs = session.run(first)
    again = session.run(second)
    np.testing.assert_array_equal(first["data"], copies["data"])
    for name in ("prob", "conv1"):
        np.testing.assert_array_equal(outputs[name], want[0][name])
        np.testing.assert_array_equal(again[name], want[1][name])


def test_a_recorded_graph_keeps_its_buffers_also_after_an_interrupted_run(net, monkeypatch):
    """A CUDA graph replays on the addresses that it was recorded with."""
    session, feeds = Session(net, "cpu"), feed(net)
    want = session.run(feeds)["prob"]
    session._bind("cpu", 0, single=True)
    session.run(feeds)
    only = session._bindings._only
    values = [*only._inputs.values(), *only._fixed.values()]
    with monkeypatch.context() as patch:
        patch.setattr(only, "_session", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            session.run(feed(net, 3))
    np.testing.assert_array_equal(session.run(feeds)["prob"], want)
    assert [*only._inputs.values(), *only._fixed.values()] == values
    assert session._bindings._only is only


class Interrupted:
    def run_with_iobinding(self, io):
        raise KeyboardInterrupt


def test_inputs_of_another_size_are_bound_again(open_net):
    session = Session(open_net, "cpu")
    rng = np.random.default_rng(4)
    batches = [{"data": rng.standard_normal((n, 3, 7, 5), np.float32)} for n in (1, 4, 4, 2)]
    want = [session.run(batch)["prob"] for batch in batches]
    session._bind("cpu", 0)
    for batch, right in zip(batches, want, strict=True):
        np.testing.assert_array_equal(session.run(batch)["prob"], right)


def test_a_binding_whose_run_failed_is_not_used_again(net):
    session, feeds = Session(net, "cpu"), feed(net)
    want = session.run(feeds)["prob"]
    session._bind("cpu", 0)
    session.run(feeds)
    with pytest.raises(RuntimeError):
        session._bindings.run({"data": np.zeros((1, 2), np.float32)})
    assert not session._bindings._free
    np.testing.assert_array_equal(session.run(feeds)["prob"], want)
