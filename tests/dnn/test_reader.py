"""Nets from files and buffers."""

from __future__ import annotations

import numpy as np

from caffe_compat import dnn

from .nets import FOLDERS, read


def test_files_and_buffers_give_the_same_net(recorded):
    folder = FOLDERS["lenet"]
    texts = (folder / "net.prototxt").read_bytes(), (folder / "weights.caffemodel").read_bytes()
    x = recorded[1]["lenet/0/in"] / np.float32(255)
    answers = []
    for net in (
        read("lenet"),
        dnn.readNetFromCaffe(*texts),
        dnn.readNetFromCaffe(*(np.frombuffer(text, np.uint8) for text in texts)),
        dnn.readNet(str(folder / "weights.caffemodel"), str(folder / "net.prototxt")),
    ):
        assert not net.empty()
        net.setInput(x)
        answers.append(net.forward())
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
