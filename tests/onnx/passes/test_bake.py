"""Preprocessing inside an ONNX model beside the same in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.net.preprocess import PRESETS, Preprocess
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes.bake import bake
from caffe_compat.runtime.placement import place
from caffe_compat.runtime.session import Session

from ...cases import inline, make

BGR_MEAN = (104, 117, 123)
PICTURE = np.random.default_rng(3).integers(0, 256, (23, 31, 3), np.uint8)

NET = """
input: "data" input_shape { dim: %s dim: %d dim: 9 dim: 7 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
"""


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(3, 40), st.integers(3, 40)),
    st.sampled_from(
        [
            Preprocess(mean=BGR_MEAN, scale=0.25),
            Preprocess(resize=(14, 11), mean=(7,), order="rgb"),
            Preprocess(resize=(10, 12), crop=(9, 7), raw_scale=0.1),
            PRESETS["mtcnn"],
            Preprocess(mean=np.arange(3 * 9 * 7, dtype=np.float32).reshape(3, 9, 7)),
            Preprocess(resize=(13, 9), mean=np.full((3, 13, 9), 0.5, np.float32)),
        ]
    ),
    st.integers(0, 2**32 - 1),
)
def test_baked_preprocessing_makes_the_same(size, preprocess, seed):
    """Outputs and the net's own blob, for pictures of any size, two of them at a time."""
    pictures = np.random.default_rng(seed).integers(0, 256, (2, *size, 3), np.uint8)
    lowered = lower(make(NET % (2, 3), inputs={"data": (2, 3, 9, 7)}))
    baked = bake(lowered, preprocess)
    inline(baked)
    session = Session(baked, "cpu", blobs=["data"])
    assert session.inputs == {"image": (2, None, None, 3)}
    want = np.stack([preprocess(each, (2, 3, 9, 7)) for each in pictures])
    made = session.run({"image": pictures})
    np.testing.assert_allclose(made["data"], want, atol=2e-6 * max(1, np.abs(want).max()))
    np.testing.assert_allclose(
        made["c"],
        Session(lowered, "cpu").run({"data": want})["c"],
        atol=1e-5 * max(1, np.abs(made["c"]).max()),
    )


@pytest.mark.parametrize("size", [None, (23, 31), (9, 7), (40, 7)])
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(mean=BGR_MEAN, scale=0.25),
        Preprocess(resize=(10, 12), crop=(9, 7)),
        Preprocess(crop=(9, 7), mean=np.full((3, 9, 7), 0.5, np.float32)),
        PRESETS["mtcnn"],
    ],
)
def test_no_node_is_on_a_gpus_host(size, preprocess):
    """Of images of one size, whose numbers are those of images of any size, bit for bit."""
    lowered = lower(make(NET % (2, 3)))
    baked = bake(lowered, preprocess, size=size)
    placement = place(baked)
    # Slice reads the middle of an image of any size on the host, so that nothing is copied.
    middle = size is None and preprocess.resize is None and preprocess.crop is not None
    assert (placement.left, len(placement.host)) == ((), 3 * middle), placement.lines()
    if size is not None:
        session = Session(baked, "cpu", blobs=["data"])
        assert session.inputs == {"image": (2, *size, 3)}
        pictures = np.random.default_rng(5).integers(0, 256, (2, *size, 3), np.uint8)
        want = [preprocess(each, (2, 3, 9, 7)) for each in pictures]
        outputs = session.run({"image": pictures})["data"]
        np.testing.assert_allclose(outputs, want, atol=2e-6 * max(1, np.abs(want).max()))
        operators = {node.op_type for node in baked.model.graph.node}
        assert not operators & {"Div", "Equal", "Floor", "Max", "Min", "ReduceSum", "Shape"}


def test_images_too_small_for_the_crop():
    with pytest.raises(ShapeError, match="cannot crop 9x7 out of 8x30; resize to a larger size"):
        bake(lower(make(NET % (1, 3))), Preprocess(crop=(9, 7)), size=(8, 30))


def test_baked_grey_is_equal_to_the_last_bit():
    picture = np.random.default_rng(0).integers(0, 256, (1, 9, 7, 3), np.uint8)
    session = Session(bake(lower(make(NET % (1, 1))), Preprocess()), "cpu", blobs=["data"])
    want = Preprocess()(picture[0], (1, 1, 9, 7))
    np.testing.assert_array_equal(session.run({"image": picture})["data"][0], want)


def test_baking_for_open_sizes():
    lowered = lower(make(NET % (1, 3), inputs={"data": (1, 3, None, None)}))
    session = Session(bake(lowered, Preprocess(crop=(5, 6))), "cpu", blobs=["data"])
    want = Preprocess(crop=(5, 6))(PICTURE, (1, 3, None, None))
    made = session.run({"image": PICTURE[np.newaxis]})["data"]
    np.testing.assert_array_equal(made[0], want)
    as_is = Session(bake(lowered, Preprocess()), "cpu")
    assert as_is.inputs == {"image": (1, None, None, 3)}
    with pytest.raises(UnsupportedError, match="one size only; give a size"):
        bake(lowered, Preprocess(mean=np.zeros((3, 4, 4))))


def test_baking_refuses_a_net_without_pictures():
    flat = make("""input: "x" input_shape { dim: 2 dim: 5 }
        layer { name: "r" type: "ReLU" bottom: "x" top: "r" }""")
    with pytest.raises(ShapeError, match="no input of an image"):
        bake(lower(flat), Preprocess())


def test_the_input_has_a_name_of_its_own():
    text = (NET % (1, 3)).replace('name: "c"', 'name: "image"').replace('top: "c"', 'top: "image"')
    baked = bake(lower(make(text)), Preprocess())
    inline(baked)
    (image,) = baked.model.graph.input
    assert image.name == "image_2"
    assert [value.name for value in baked.model.graph.output] == ["image"]


def test_the_lowered_net_stays_as_it_was():
    lowered = lower(make(NET % (1, 3)))
    before, names = lowered.model.SerializeToString(), set(lowered.arrays)
    baked = bake(lowered, Preprocess(mean=BGR_MEAN))
    assert lowered.model.SerializeToString() == before
    assert set(lowered.arrays) == names
    assert baked.params == lowered.params
    assert {n.name.split("/")[0] for n in baked.model.graph.node} == {"preprocess", "c"}


def test_a_model_with_its_weights_inside():
    """Such as onnxruntime's converters write: the names in it are taken too."""
    lowered = lower(make(NET % (1, 3)))
    whole = inline(lowered)
    constant = onnx.numpy_helper.from_array(np.float32([1]), "preprocess/constant")
    whole.graph.initializer.append(constant)
    image = np.random.default_rng(2).integers(0, 256, (1, 12, 10, 3), np.uint8)
    preprocess = Preprocess(resize=(9, 7), mean=BGR_MEAN)
    inside = bake(replace(lowered, model=whole, arrays={}, params={}), preprocess)
    (got,) = Session(inside, "cpu").run({"image": image}).values()
    (want,) = Session(bake(lowered, preprocess), "cpu").run({"image": image}).values()
    np.testing.assert_array_equal(got, want)
