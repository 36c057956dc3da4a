from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.caffe_pb2 import LayerParameter, NetParameter
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.weights import mapped

from .test_caffemodel import CAFFEMODELS

LAYERS = Path(__file__).parents[1] / "golden" / "layers"
BY_CAFFE = sorted(LAYERS.glob("*/*.caffemodel"))


def saved(path: Path, target: Path) -> bytes:
    """Read a caffemodel and write it again; other fields come from protobuf's parser."""
    params = [[blob.array for blob in layer.blobs] for layer in weights.read(path).layers]
    weights.write_caffemodel(target, NetParameter.FromString(path.read_bytes()), params)
    return target.read_bytes()


@pytest.mark.parametrize("path", BY_CAFFE, ids=lambda path: path.parent.name)
def test_what_real_caffe_wrote_is_written_byte_for_byte(tmp_path, path):
    assert saved(path, tmp_path / "out") == path.read_bytes()


@pytest.mark.parametrize("path", CAFFEMODELS, ids=lambda path: path.parent.name)
def test_real_models_are_written_byte_for_byte(tmp_path, path):
    again = saved(path, tmp_path / "out")
    if "finemapping" not in str(path):  # stored in half precision, and read by NVCaffe only
        assert again == path.read_bytes()
    before, after = weights.read(path), weights.read(tmp_path / "out")
    for one, other in zip(before.layers, after.layers, strict=True):
        for a, b in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(a.array, b.array, strict=True)


def test_the_fields_around_the_data_are_in_protobufs_order(tmp_path):
    rng = np.random.default_rng(0)
    net = NetParameter(name="n", force_backward=True)
    first = net.layer.add(name="a", type="Convolution", bottom=["x"], top=["y"], phase=1)
    first.param.add(lr_mult=2)
    first.include.add(stage=["s"])
    first.convolution_param.num_output = 3
    net.layer.add(name="b", type="Scale")
    params = [
        [rng.standard_normal((3, 2, 5, 7), "f4"), rng.standard_normal((200,), "f4")],
        [np.float32(rng.standard_normal(())).reshape(()), np.zeros((0, 4), "f4")],
    ]
    expected = NetParameter()
    expected.CopyFrom(net)
    for layer, blobs in zip(expected.layer, params, strict=True):
        for blob in blobs:
            stored = layer.blobs.add(data=blob.ravel())
            if blob.ndim:
                stored.shape.dim.extend(blob.shape)
    path = tmp_path / "out.caffemodel"
    weights.write_caffemodel(path, net, params)
    assert path.read_bytes() == expected.SerializeToString()
    # Blobs that the message brings along are replaced, not written twice.
    weights.write_caffemodel(path, expected, params)
    assert path.read_bytes() == expected.SerializeToString()
    assert len(expected.layer[0].blobs) == 2


def test_arrays_in_any_order_are_written_row_by_row(tmp_path):
    array = np.arange(6, dtype="f4").reshape(2, 3)
    net = NetParameter(layer=[LayerParameter(name="a"), LayerParameter(name="b")])
    weights.write_caffemodel(tmp_path / "w", net, [[array.T], [array[:, ::-1].astype(">f4")]])
    a, b = weights.read(tmp_path / "w").layers
    np.testing.assert_array_equal(a.blobs[0].array, array.T)
    np.testing.assert_array_equal(b.blobs[0].array, array[:, ::-1])


def test_two_gib_are_refused_before_anything_is_written(tmp_path):
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), (1 << 20, 1 << 9), (0, 0))
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"old")
    with pytest.raises(WeightsError, match=r"takes at most 2147483647: write a .caffemodel.h5"):
        weights.write_caffemodel(path, NetParameter(layer=[LayerParameter()]), [[huge]])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_list_of_blobs_for_every_layer(tmp_path):
    with pytest.raises(WeightsError, match="0 lists of blobs for 1 layers"):
        weights.write_caffemodel(tmp_path / "w", NetParameter(layer=[LayerParameter()]), [])


def test_hdf5_as_caffe_writes_it(tmp_path):
    path = tmp_path / "w.caffemodel.h5"
    rng = np.random.default_rng(1)
    a, b, scalar = rng.standard_normal((2, 3), "f4"), rng.standard_normal(4, "f4"), np.float32(7)
    weights.write_hdf5(
        path, ["a", "relu", "b"], [[a, b], [], [a, np.asarray(scalar)]], shared={(2, 0)}
    )
    with h5py.File(path) as file:
        assert list(file) == ["data"]
        assert {name: list(group) for name, group in file["data"].items()} == {
            "a": ["0", "1"],
            "b": ["1"],
            "relu": [],
        }
        np.testing.assert_array_equal(file["data/a/0"][()], a, strict=True)
        assert file["data/a/1"].dtype == np.dtype("<f4")
        assert file["data/a/1"].id.get_offset() is not None  # in one piece, to be looked at there
        assert file["data/b/1"][()] == scalar
        assert file["data/b/1"].shape == ()
    opened = weights.read(path)
    np.testing.assert_array_equal(opened.layers[0].blobs[0].array, a, strict=True)


@pytest.mark.parametrize("names", [["a/b"], ["a", "a"], [""], ["."], ["a\0"]])
def test_names_that_hdf5_cannot_hold(tmp_path, names):
    with pytest.raises(WeightsError, match=r"Error saving weights to .*: the layer name"):
        weights.write_hdf5(tmp_path / "w.h5", names, [[]] * len(names))
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_outlives_a_failure(tmp_path, monkeypatch):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"old")

    def fail(out, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped, "write", fail)
    net = NetParameter(layer=[LayerParameter()])
    with pytest.raises(CaffeCompatError, match="cannot be written: No space left on device"):
        weights.write_caffemodel(path, net, [[np.zeros(3, "f4")]])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(CaffeCompatError):
        weights.write_caffemodel(tmp_path / "no" / "w", net, [[np.zeros(3, "f4")]])


def test_a_model_may_be_written_over_the_file_that_it_is_a_view_of(tmp_path):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(CAFFEMODELS[0].read_bytes())
    assert saved(path, path) == CAFFEMODELS[0].read_bytes()
