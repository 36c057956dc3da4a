"""Weights into a net by name: net.cpp's CopyTrainedLayersFrom and CopyTrainedLayersFromHDF5."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.errors import WeightsError

from ..wireformat import integer, length, net, packed, shape


@pytest.fixture
def opened(tmp_path):
    def write_and_read(data: bytes) -> weights.Weights:
        path = tmp_path / "w.caffemodel"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return weights.read(path)

    return write_and_read


@pytest.fixture
def hdf5(tmp_path):
    def write_and_read(**layers: dict[str, list[float]]) -> weights.Weights:
        path = tmp_path / "w.caffemodel.h5"
        with h5py.File(path, "w") as file:
            for name, blobs in layers.items():
                group = file.create_group(f"data/{name}")
                for key, values in blobs.items():
                    group[key] = np.float32(values)
        return weights.read(path)

    return write_and_read


def vector(*values: float) -> bytes:
    return shape(len(values)) + packed(5, *values)


def legacy(n: int, c: int, h: int, w: int) -> bytes:
    dims = b"".join(integer(i + 1, d) for i, d in enumerate((n, c, h, w)))
    return dims + packed(5, *range(n * c * h * w))


def values(report: weights.Report) -> dict[int, list[object]]:
    return {i: [None if a is None else a.tolist() for a in r] for i, r in report.copied.items()}


def test_layers_are_found_by_name_and_the_rest_reported(opened):
    file = opened(net(name="data") + net(vector(1, 2), vector(3), name="b") + net(vector(9)))
    one, two = ("weight", (2,)), ("bias", (1,))
    report = weights.match(file, [("data", []), ("a", [two]), ("b", [one, two]), ("relu", [])])
    assert values(report) == {2: [[1, 2], [3]]}
    assert report.left == ("a",)
    assert report.unused == ("conv1",)


def test_a_name_used_twice(opened, hdf5):
    """Caffe gives a caffemodel's layer to the first target, an HDF5 file's to the last."""
    targets = [("a", [("w", (1,))]), ("b", [("w", (1,))]), ("a", [("w", (1,))])]
    report = weights.match(opened(net(vector(5), name="a")), targets)
    assert (values(report), report.left) == ({0: [[5]]}, ("b", "a"))
    report = weights.match(hdf5(a={"0": [5]}), targets)
    assert (values(report), report.left) == ({2: [[5]]}, ("a", "b"))


def test_of_two_sources_of_a_name_the_last_stands_and_the_order_is_that_of_copying(opened):
    a, b, again = net(vector(1), name="a"), net(vector(2), name="b"), net(vector(3), name="a")
    report = weights.match(opened(a + b + again), [("a", [("w", (1,))]), ("b", [("w", (1,))])])
    assert list(values(report).items()) == [(1, [[2]]), (0, [[3]])]


def test_unnamed_layers_match_the_first_unnamed_one(opened):
    report = weights.match(
        opened(net(vector(1), name="")), [("x", []), ("", [("w", (1,))]), ("", [("w", (1,))])]
    )
    assert values(report) == {1: [[1]]}


@pytest.mark.parametrize(
    ("dims", "target", "fits"),
    [
        ((1, 1, 1, 6), (6,), True),
        ((1, 1, 2, 3), (2, 3), True),
        ((1, 2, 1, 3), (2, 1, 3), True),
        ((4, 3, 2, 1), (4, 3, 2, 1), True),
        ((1, 1, 1, 1), (), True),
        ((1, 1, 1, 1), (1, 1), True),
        ((6, 1, 1, 1), (6,), False),
        ((2, 3, 1, 1), (2, 3), False),
        ((1, 1, 2, 3), (3, 2), False),
        ((1, 1, 2, 3), (1, 1, 1, 2, 3), False),
    ],
)
def test_legacy_shapes_are_compared_from_the_right(opened, dims, target, fits):
    file = opened(net(legacy(*dims)))
    if fits:
        ((array,),) = weights.match(file, [("conv1", [("w", target)])]).copied.values()
        assert array.shape == target
        assert array.ravel().tolist() == list(range(array.size))
        assert weights.location(array) is not None  # reshaped, and still the file's own bytes
    else:
        with pytest.raises(WeightsError, match="shape mismatch"):
            weights.match(file, [("conv1", [("w", target)])])


def test_shapes_proper_are_compared_exactly(opened):
    file = opened(net(shape(1, 1, 1, 3) + packed(5, 1, 2, 3)))
    with pytest.raises(WeightsError, match=r"param shape is 1 1 1 3 \(3\); target .* 3 \(3\)"):
        weights.match(file, [("conv1", [("bias", (3,))])])


def test_the_error_says_what_caffe_says(opened, tmp_path):
    file = opened(net(shape(3, 2) + packed(5, *range(6)), name="ip"))
    with pytest.raises(WeightsError) as error:
        weights.match(file, [("ip", [("weight", (4, 2))])])
    assert str(error.value) == (
        f"{tmp_path / 'w.caffemodel'}: Cannot copy param 0 weights from layer 'ip'; shape "
        "mismatch.  Source param shape is 3 2 (6); target param shape is 4 2 (8). To learn this "
        "layer's parameters from scratch rather than copying from a saved net, rename the layer."
    )


@pytest.mark.parametrize("stored", [(), (vector(1),), (vector(1), vector(1), vector(1))])
def test_the_number_of_blobs_must_fit(opened, stored):
    file = opened(net(*stored, name="ip"))
    reason = rf"number of blobs for layer ip: the net has 2 \(w, b\), the file {len(stored)}"
    with pytest.raises(WeightsError, match=reason):
        weights.match(file, [("ip", [("w", (1,)), ("b", (1,))])])


def test_hdf5_leaves_shared_blobs_to_their_owner(hdf5):
    file = hdf5(a={"0": [1]}, b={"1": [2]}, c={})
    pair = [("w", (1,)), ("b", (1,))]
    targets = [("a", pair[:1]), ("b", pair), ("c", pair[:1])]
    report = weights.match(file, targets, shared={(1, 0), (2, 0)})
    assert values(report) == {0: [[1]], 1: [None, [2]], 2: [None]}
    with pytest.raises(WeightsError, match="Incompatible number of blobs for layer b"):
        weights.match(file, targets, shared={(2, 0)})
    with pytest.raises(WeightsError, match="Incompatible number of blobs for layer b"):
        weights.match(file, [("b", pair[:1])])


def test_a_caffemodel_has_shared_blobs_in_every_layer(opened):
    file = opened(net(vector(1), name="a") + net(name="b"))
    with pytest.raises(WeightsError, match="Incompatible number of blobs for layer b"):
        weights.match(file, [("a", [("w", (1,))]), ("b", [("w", (1,))])], shared={(1, 0)})


def test_v1_layers_match_like_any_other(opened):
    file = opened(length(2, length(4, "c") + length(6, legacy(1, 1, 2, 3))))
    assert values(weights.match(file, [("c", [("w", (2, 3))])])) == {0: [[[0, 1, 2], [3, 4, 5]]]}
