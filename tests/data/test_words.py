"""The words that data layers draw, in the net's order and between the fillers'."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import TRAIN, NetParameter
from caffe_compat.data.paths import Paths
from caffe_compat.data.words import draw_words, zero_words
from caffe_compat.fillers.rng import BoostRng

DATA = 'layer { name: "%s" type: "Data" top: "%s" phase: TRAIN transform_param { mirror: true }'
DATA += " data_param { batch_size: 1 } }"
FILLED = 'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 2 dim: 5 } } }'
FILLED += 'layer { name: "ip" type: "InnerProduct" bottom: "in" top: "ip" inner_product_param {'
FILLED += ' num_output: 3 weight_filler { type: "uniform" } } }'


def net(*layers):
    message = NetParameter()
    message.state.phase = TRAIN
    return text_format.Parse("".join(layers), message)


def never():
    raise AssertionError("shapes are not needed")


def test_without_fillers_before_them_no_shape_is_needed():
    words = BoostRng(4).u32(6).tolist()
    drawn = draw_words(
        net(DATA % ("a", "x"), DATA % ("b", "y"), FILLED), BoostRng(4), never, Paths()
    )
    assert drawn == {"a": words[:3], "b": words[3:]}
    assert all(type(word) is int for word in drawn["a"])


def test_fillers_between_them_draw_too():
    rng = BoostRng(4)
    first, _, last = rng.u32(3).tolist(), rng.uniform(0, 1, 15), rng.u32(3).tolist()
    layers = net(DATA % ("a", "x"), FILLED, DATA % ("b", "y"))
    shapes = {"x": (1, 3, 4, 4), "y": (1, 3, 4, 4)}
    assert draw_words(layers, BoostRng(4), lambda: shapes, Paths()) == {"a": first, "b": last}


@pytest.mark.parametrize("phase, count", [("TRAIN", 3), ("TEST", 1)])
def test_zeros_are_as_many(phase, count):
    text = DATA.replace("mirror: true", "crop_size: 2").replace("TRAIN", phase)
    assert zero_words(net(text % ("a", "x"))) == {"a": [0] * count}
