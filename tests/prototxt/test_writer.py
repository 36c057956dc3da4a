"""Messages as prototxt."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import NetParameter, SolverParameter
from caffe_compat.prototxt.reader import read_net
from caffe_compat.prototxt.writer import write_text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False)), st.text(max_size=20))
def test_written_text_reads_back(tmp_path_factory, values, name):
    path = tmp_path_factory.getbasetemp() / "written.prototxt"
    net = NetParameter(name=name or "n")
    net.layer.add(name=name).blobs.add(data=values)
    write_text(net, path)
    again, _ = read_net(path)
    assert again == net
    ours = np.array(again.layer[0].blobs[0].data, np.float32)
    assert ours.tobytes() == np.array(values, np.float32).tobytes()


def test_floats_are_short(tmp_path):
    path = tmp_path / "s.prototxt"
    write_text(SolverParameter(base_lr=0.01, gamma=1, power=-3, delta=1e-8, type="v: 1.0"), path)
    lines = path.read_text().splitlines()
    assert lines == ["base_lr: 0.01", "gamma: 1", "power: -3", "delta: 1e-08", 'type: "v: 1.0"']


def test_control_codes_are_escaped(tmp_path):
    path = tmp_path / "net.prototxt"
    write_text(NetParameter(name="a\x1b[2J"), path)
    assert path.read_text() == 'name: "a\\033[2J"\n'
