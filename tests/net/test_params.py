"""Parameter blobs: drawn, loaded, shared, or in the prototxt."""

from __future__ import annotations

import os

import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.params import load, match_weights, without_filler
from caffe_compat.net.saving import save

from ..cases import graph_of, make
from ..slope_nets import layer


def dense(name, bottom, more=""):
    return layer(
        "InnerProduct",
        bottom,
        name,
        f"{more} inner_product_param {{ num_output: 4 bias_term: false weight_filler {{ "
        f'type: "xavier" }} }}',
        name,
    )


def test_blobs_in_the_prototxt_are_kept_and_nothing_is_drawn_for_them():
    numbers = " ".join(f"data: {n}" for n in range(8))
    text = 'input: "x" input_shape { dim: 3 dim: 2 }' + dense("a", "x", "%s") + dense("b", "x")
    plain, with_blobs = make(text % ""), make(text % f"blobs {{ {numbers} }}")
    np.testing.assert_array_equal(with_blobs.arrays[1][0], np.arange(8).reshape(4, 2))
    # The stream stands where it stood before a drew.
    np.testing.assert_array_equal(with_blobs.arrays[2][0], plain.arrays[1][0])


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        (
            "blobs { data: 1 data: 2 }",
            r"layer 'a' \(InnerProduct\): the prototxt's blob has 2 values for \(4, 2\)",
        ),
        ("blobs { } blobs { }", "the prototxt gives 2 blobs, the layer has 1"),
    ],
)
def test_blobs_in_the_prototxt_that_do_not_fit(blobs, message):
    with pytest.raises(WeightsError, match=message):
        make('input: "x" input_shape { dim: 3 dim: 2 }' + dense("a", "x", blobs))


SHARED = (
    'input: "x" input_shape { dim: 3 dim: 4 }'
    + dense("a", "x", 'param { name: "w" }')
    + dense("b", "a", 'param { name: "w" }')
)


def test_a_shared_blob_is_one_array_of_its_owner():
    net = make(SHARED)
    assert net.arrays[1][0].base is net.arrays[2][0].base
    np.testing.assert_array_equal(net.arrays[1][0], net.arrays[2][0])
    assert net.graph.nodes[2].owners == ((1, 0),)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the memory is not known here")
def test_parameters_beyond_the_memory_are_not_begun():
    """2000 blobs of 8 GB each: the system would end the process without an error."""
    text = "".join(
        f'layer {{ name: "p{i}" type: "Parameter" top: "p{i}" '
        "parameter_param { shape { dim: 2147483647 } } }"
        for i in range(2000)
    )
    with pytest.raises(CaffeCompatError, match=r"in layer 'p0', take 17,179,869,176,000 bytes"):
        make(text)


def stored(tmp_path, net):
    save(net, tmp_path / "w.caffemodel")
    return weights.read(tmp_path / "w.caffemodel")


TWO = 'input: "x" input_shape { dim: 3 dim: 4 }' + dense("a", "x") + dense("b", "a")


def test_weights_of_a_file_are_views_and_nothing_is_drawn(tmp_path):
    net = make(TWO)
    rng = BoostRng(5)
    again, report = load(net.graph, stored(tmp_path, net), rng)
    assert (report.left, report.unused) == ((), ())
    assert rng.next_u32() == BoostRng(5).next_u32()
    for ours, theirs in zip(again.arrays, net.arrays, strict=True):
        for array, want in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(array, want)
            assert weights.location(array) is not None


def test_layers_that_the_file_lacks_are_drawn_in_their_place_of_the_stream(tmp_path):
    file = stored(tmp_path, make(TWO, seed=1))
    graph = graph_of(TWO.replace('"b"', '"new"'))
    net, report = load(graph, file, BoostRng(7))
    assert (report.left, report.unused) == (("new",), ("b",))
    owned, _ = match_weights(graph, file)
    assert set(owned) == {(1, 0)}
    np.testing.assert_array_equal(net.arrays[1][0], owned[1, 0])
    np.testing.assert_array_equal(net.arrays[2][0], make(TWO, seed=7).arrays[2][0])


def test_a_shared_blob_is_loaded_once(tmp_path):
    net = make(SHARED)
    file = stored(tmp_path, net)
    again, _ = load(net.graph, file, BoostRng(0))
    assert list(match_weights(net.graph, file)[0]) == [(1, 0)]
    assert weights.location(again.arrays[1][0]) == weights.location(again.arrays[2][0])


def test_weights_without_a_filler():
    text = (
        'input: "x" input_shape { dim: 3 dim: 4 }'
        + layer("InnerProduct", "x", "a", "inner_product_param { num_output: 4 }", "zero")
        + layer(
            "InnerProduct",
            "a",
            "b",
            "inner_product_param { num_output: 4 weight_filler { value: 2 } }",
            "two",
        )
        + layer("PReLU", "b", "c")
    )
    graph = graph_of(text)
    assert without_filler(graph, ["zero", "two", "prelu"]) == ["zero"]
    assert without_filler(graph, ["two"]) == []
