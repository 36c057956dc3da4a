"""A command's model: an ONNX file's path, or a prototxt's net in a suitable shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from caffe_compat.converters.models import Model
from caffe_compat.converters.options import Selection


def shape(loaded):
    return loaded.graph.inputs[0].dims


def test_an_onnx_file_is_its_path():
    path = Path("n.onnx")
    model = Model(path, None, Selection())
    assert model.load() == model.load_for(3) == path
    with pytest.raises(typer.BadParameter, match="has its own weights"):
        Model(path, Path("w.caffemodel"), Selection())


def test_options_come_before_the_commands_own_choice(net):
    model = Model(net, None, Selection())
    assert shape(model.load()) == (2, 3, 8, 9)
    assert shape(model.load(batch="dynamic")) == (None, 3, 8, 9)
    assert shape(model.load(inputs={"data": (4, 3, 8, 10)})) == (4, 3, 8, 10)
    batch = Model(net, None, Selection(batch=5))
    assert shape(batch.load(batch="dynamic")) == (5, 3, 8, 9)
    inputs = Model(net, None, Selection(input=[("data", (1, 3, 7, 7))]))
    assert shape(inputs.load(inputs={"data": (4, 3, 8, 10)})) == (1, 3, 7, 7)


def test_the_batch_suits_the_number_of_images(net):
    assert shape(Model(net, None, Selection()).load_for(3)) == (3, 3, 8, 9)
    assert shape(Model(net, None, Selection(batch=5)).load_for(3)) == (5, 3, 8, 9)
